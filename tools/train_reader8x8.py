"""Train the small reader of digits that exercise 11.4 hands out: minidl/data/reader8x8.safetensors.

    python tools/train_reader8x8.py [file]

It learns from the 8,000 digits of MNIST that come with minidl, cut out and made 8 pixels high, each three times at
another width. The exercise asks it about other people's digits, those of `Digits`. Takes seconds;
`minidl/data/README.md` says what the file in the package was made with.
"""
import sys

import numpy as np

import minidl as md
from minidl import optim
from minidl.data import MNIST10k
from minidl.pretrained import FILE, prepared, reader8x8
from minidl.safetensors import save_file

F = md.nn.functional
INK = 60                                              # a pixel darker than this belongs to the digit
FINE = 4                                              # looks along each side of one of the 8 x 8 pixels


def cut(image, rng):
    """A digit (28, 28) as shades from 0 to 1, (8, 8): as high as the picture, its width changed by chance."""
    rows, columns = (np.flatnonzero(image.max(axis=axis) > INK) for axis in (1, 0))
    top, bottom, middle = rows[0], rows[-1] + 1, (columns[0] + columns[-1] + 1) / 2 + rng.uniform(-0.5, 0.5)
    half = max(bottom - top, columns[-1] + 1 - columns[0]) / 2 * rng.uniform(0.85, 1.1)
    y, x = along(top, bottom), along(middle - half, middle + half)
    blocks = image[np.ix_(y, x)].reshape(8, FINE, 8, FINE).mean(axis=(1, 3))
    return blocks / blocks.max()


def along(start, stop):
    """The pixels that lie at evenly spread places from `start` to `stop`."""
    count = 8 * FINE
    return np.clip(start + (np.arange(count) + 0.5) / count * (stop - start), 0, 27).astype(int)


def train(images, labels, epochs=3, size=64):
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


def main(path=FILE):
    """Train, save, and say how it went."""
    md.manual_seed(0)
    digits, rng = MNIST10k(), np.random.default_rng(0)
    images = prepared(np.array([cut(image, rng) for _ in range(3) for image in digits.data]))
    labels = md.tensor(np.tile(digits.targets, 3))
    model = train(images, labels)
    save_file(model.state_dict(), path, {"reads": "0123456789", "input": "(shade from 0 to 1 - 0.35) * 2.5, N 1 8 8"})
    print(f"{(model(images).argmax(1) == labels).float().mean().item():.1%} of what it learned from; stored in {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
