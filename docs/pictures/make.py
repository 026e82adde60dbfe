"""Draws the picture of the README: one test digit on its way through a small CNN, trained for a few seconds.

    python docs/pictures/make.py
"""
from pathlib import Path

import numpy as np

import minidl as md
from minidl import nn, optim
from minidl.data import DataLoader, MNIST10k
from minidl.viz.picture import INK, POSITIVE, canvas

F = nn.functional
SHOWN = 8                                             # feature maps of each layer


def trained():
    """A CNN after one pass over the 8,000 training digits."""
    md.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1),
                          nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 7 * 7, 10))
    optimiser = optim.Adam(model.parameters(), lr=0.002)
    for x, y in DataLoader(MNIST10k(), batch_size=64, shuffle=True, generator=md.Generator(0)):
        optimiser.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimiser.step()
    return model.eval()


def picture(model, digit):
    """The digit, feature maps after each stage, and what the network believes."""
    with md.no_grad():
        first = model[:3](digit)
        second = model[3:6](first)
        belief = F.softmax(model[6:](second), 1)[0].numpy()
    figure, axes = canvas(2, 2 + 2 * (SHOWN // 2), size=(1.05, 1.15))
    grid = axes[0, 0].get_gridspec()
    for ax in axes.flat:
        ax.set_axis_off()
    left = figure.add_subplot(grid[:, 0])
    left.imshow(digit.numpy()[0, 0], cmap="Greys")
    left.set_axis_off()
    left.set_title("a digit")
    for stage, (maps, name) in enumerate([(first, "conv, relu, pool"), (second, "conv, relu, pool again")]):
        for k in range(SHOWN):
            ax = axes[k // (SHOWN // 2), 1 + stage * (SHOWN // 2) + k % (SHOWN // 2)]
            ax.imshow(maps.numpy()[0, k], cmap="Blues")
        axes[0, 1 + stage * (SHOWN // 2)].set_title(name, loc="left")
    right = figure.add_subplot(grid[:, -1])
    right.barh(np.arange(10), belief, color=POSITIVE)
    right.set_yticks(np.arange(10), [str(k) for k in range(10)], color=INK)
    right.set_xticks([])
    right.invert_yaxis()
    right.set_title("belief")
    return figure


if __name__ == "__main__":
    digit = md.tensor(np.asarray(MNIST10k(train=False).data[7:8, None] / 255, dtype=np.float32))
    picture(trained(), digit).savefig(Path(__file__).with_name("minidl.png"), dpi=130)
