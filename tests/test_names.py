"""Names in ten languages: what is in the file, what may not be in it, and letters as numbers."""
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from minidl.data import Names, datasets
from minidl.errors import DataError, DimensionError

PARTS = Names(), Names(train=False)


def test_both_parts_hold_what_they_promise():
    train, test = PARTS
    assert (len(train), len(test)) == (3596, 912) and train.letters == test.letters and train.classes == test.classes
    for part in PARTS:
        assert part.targets.dtype == np.int64 and len(part.names) == len(part.targets) == len(part)
        assert np.bincount(part.targets, minlength=10).min() > len(part) / 20
        assert all(3 <= len(name) <= 20 and name == name.lower().strip() for name in part.names)
        assert all(unicodedata.is_normalized("NFC", name) for name in part.names)
        assert part[-1] == (part.names[-1], int(part.targets[-1]))
    with pytest.raises(DimensionError):
        train[len(train)]


def test_no_name_is_there_twice():
    everything = [name for part in PARTS for name in part.names]
    assert len(set(everything)) == len(everything)


@pytest.mark.parametrize(("name", "language"), [("poniedziałek", "Polish"), ("almanca", "Turkish"), ("lundi", "French"),
                                                ("österreich", "German"), ("kiingereza", "Swahili")])
def test_a_name_that_everybody_can_look_up(name, language):
    found = [part.classes[part.targets[part.names.index(name)]] for part in PARTS if name in part.names]
    assert found == [language]


def test_letters_become_numbers_and_numbers_letters():
    names = PARTS[0]
    codes, lengths = names.encode(names.names)
    assert codes.shape == (max(map(len, names.names)), len(names)) and codes.dtype == lengths.dtype == np.int64
    back = ["".join(names.letters[k - 1] for k in column[:n]) for column, n in zip(codes.T, lengths)]
    assert back == names.names and codes.max() <= len(names.letters)
    assert all(not column[n:].any() and column[:n].all() for column, n in zip(codes.T, lengths))


@pytest.mark.parametrize(("word", "says"), [("Mai", r"no name has the letter 'M'.\n    word     'Mai'"),
                                            ("", "a word has no letters")])
def test_a_word_that_cannot_be_written_down(word, says):
    with pytest.raises(DataError, match=says) as error:
        PARTS[0].encode(["mai", word])
    assert "Try: small letters only." in str(error.value)


def test_damage_is_found(tmp_path, monkeypatch):
    content = bytearray((Path(datasets.FOLDER) / "names.csv").read_bytes())
    content[3000] ^= 1
    (tmp_path / "names.csv").write_bytes(content)
    monkeypatch.setattr(datasets, "FOLDER", tmp_path)
    with pytest.raises(DataError, match=r"damaged.\n    SHA-256"):
        Names()
