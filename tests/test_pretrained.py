"""The files of weights that come with minidl: whole, those that their notes name, and used as they were published.

The oracle for the voice network are 140 probabilities in `speech.npz`, computed once by ONNX Runtime 1.32 with the
graph of `silero_vad_16k_op15.onnx` (silero-vad 6.2.3) and the tensors of `silero_vad_16k.safetensors` put into it.
minidl's network, taken from the lesson's own cells, agreed with them to 1e-6.
"""
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl.grading import sheets
from minidl.safetensors import load_file, metadata_of

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "minidl" / "data"
LESSON = ROOT / "notebooks" / "11_pretrained_and_transfer.ipynb"
CLIP = dict(np.load(FOLDER / "speech.npz"))


@pytest.mark.parametrize("name", ["silero_vad_16k.safetensors", "speech.npz", "reader8x8.safetensors"])
def test_the_notes_name_the_file_that_is_there(name):
    notes = (FOLDER / "README.md").read_text(encoding="utf-8").split(f"## {name}\n")[1].split("\n## ")[0]
    (digest,) = re.findall(r"\*\*SHA-256\*\* `([0-9a-f]{64})`", notes)
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest
    assert "**License**" in notes and "**By**" in notes


@pytest.fixture(scope="module")
def lesson():
    """What the cells of the lesson define, up to the function that listens."""
    cells = {name: source for name, kind, source in sheets.cells(LESSON) if kind == "code"}
    space = {}
    exec(cells["setup"], space)
    space["loaded"] = load_file(FOLDER / "silero_vad_16k.safetensors")
    exec(cells["listener"], space)
    space["listener"] = space["Listener"]().eval()
    exec(cells["rename"], space)
    exec(cells["listen"].split("\np = ")[0], space)
    return space


def test_the_lesson_s_network_answers_as_the_published_one(lesson):
    sound = CLIP["samples"] / np.float32(32768)
    p = lesson["listen"](lesson["listener"], sound)
    assert np.abs(p - CLIP["published"]).max() < 1e-4
    assert np.abs(p - CLIP["sibling"]).max() > 0.1             # another training: the oracle can tell them apart


def test_the_network_hears_the_words_and_nothing_between_them(lesson):
    p = lesson["listen"](lesson["listener"], CLIP["samples"] / np.float32(32768))
    middle = (np.arange(len(p)) + 0.5) * 512 / float(CLIP["rate"])
    inside = [(middle > a + 0.1) & (middle < b) for a, b in CLIP["seconds"]]
    near = [(middle > a - 0.05) & (middle < b + 0.15) for a, b in CLIP["seconds"]]
    assert all((p[place] > 0.5).all() for place in inside)
    assert (p[~np.any(near, axis=0)] < 0.5).all()


def test_the_oracle_notices_a_small_change(lesson):
    wrong = lesson["Listener"]().eval()
    wrong.load_state_dict(lesson["renamed"](lesson["loaded"], lesson["table"]))
    wrong.layers[3].weight.requires_grad_(False).array[..., 1] *= 1.01      # the others meet only padding here
    p = lesson["listen"](wrong, CLIP["samples"] / np.float32(32768))
    assert np.abs(p - CLIP["published"]).max() > 1e-4


def test_the_reader_of_the_exercise_says_what_it_reads():
    from minidl.grading.chapters.ch11 import prepared, published
    assert metadata_of(FOLDER / "reader8x8.safetensors")["reads"] == "0123456789"
    digits = md.data.Digits(train=False)
    with md.no_grad():
        read = (published()(prepared(digits.data / 255)).argmax(1).numpy() == digits.targets).mean()
    assert 0.5 < read < 0.65                                   # the exercise says: about 56 %
