"""Train the small reader of digits that exercise 11.4 hands out: minidl/data/reader8x8.safetensors.

    python tools/train_reader8x8.py [file]

It learns from 4,000 digits of MNIST, shrunk to 8 x 8 pixels. The exercise asks it about other people's digits, those
of `Digits`. Takes seconds; `minidl/data/README.md` says what the file in the package was made with.
"""
import sys
from pathlib import Path

import numpy as np

import minidl as md
from minidl import optim
from minidl.data import MNIST10k
from minidl.grading.chapters.ch11 import prepared, reader8x8
from minidl.safetensors import save_file

F = md.nn.functional
PLACE = Path(__file__).resolve().parents[1] / "minidl" / "data" / "reader8x8.safetensors"


def shrunk(images):
    """Bytes (N, 28, 28) -> shades from 0 to 1, (N, 8, 8): the middle 24 x 24, in blocks of 3 x 3, made equally dark."""
    blocks = images[:, 2:26, 2:26].reshape(-1, 8, 3, 8, 3).mean(axis=(2, 4))
    return blocks / blocks.max(axis=(1, 2), keepdims=True)


def train(images, labels, epochs=4, size=64):
    """The trained model."""
    model, rng = reader8x8(), np.random.default_rng(0)
    optimizer = optim.Adam(model.parameters(), lr=0.003)
    for epoch in range(epochs):
        for part in np.array_split(rng.permutation(len(images)), len(images) // size):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[part]), labels[part])
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: loss of the last batch {loss.item():.3f}")
    return model


def main(path=PLACE):
    """Train, save, and say how it went."""
    md.manual_seed(0)
    digits = MNIST10k()
    images, labels = prepared(shrunk(digits.data[:4000])), md.tensor(digits.targets[:4000])
    model = train(images, labels)
    save_file(model.state_dict(), path, {"reads": "0123456789", "input": "(shade from 0 to 1 - 0.35) * 2.5, N 1 8 8"})
    print(f"{(model(images).argmax(1) == labels).float().mean().item():.1%} of what it learned from; stored in {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
