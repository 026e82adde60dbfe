"""Names of countries, languages, months and days in ten languages; they come with minidl, as `names.csv`.

    names = Names()                  3,596 names to learn from; Names(train=False) has 912 others
    names[0]                         ("dydd llun", 0): a name, and the number of its language
    names.encode(["lundi"])          letters as numbers, time first, and the lengths

A name is there only if it belongs to one of the ten languages alone, so every question has one answer.
"""
import csv
import io

import numpy as np

from ..errors import DataError, message
from .dataset import Dataset, place
from .datasets import bundled

SHA256 = "e900e2df36031d1cc90debc7de4b00895e355432dd676da03d3a109638b7f30a"
LANGUAGES = {"cy": "Welsh", "de": "German", "en": "English", "es": "Spanish", "fi": "Finnish", "fr": "French",
             "it": "Italian", "pl": "Polish", "sw": "Swahili", "tr": "Turkish"}


class Names(Dataset):
    """Which language is this name? 3,596 names to train on and 912 to test, in small letters, 3 to 20 letters long.

    What the test part names, Austria or Tuesday, the training part names in no language: whoever learned "autriche" is
    not asked about "avusturya". A country and its language count as two. From the Unicode CLDR by way of Babel; see
    minidl/data/README.md.

    Args:
        train: the training part, or else the test part.

    Attributes:
        names: the names, a list of strings.
        targets: the numbers of their languages, int64 (N,), a NumPy array.
        classes: the names of the ten languages, in the order of their numbers.
        letters: all letters that occur in either part, one string; letter k has the code k + 1, 0 is no letter.

    Raises:
        DataError: the file in the package is missing or damaged.

    >>> names = Names()
    >>> names
    Names(3,596 names, 10 languages)
    >>> name, language = names[0]
    >>> name, names.classes[language]
    ('dydd llun', 'Welsh')
    """

    def __init__(self, train=True):
        content = bundled("names.csv", SHA256).decode("utf-8")
        rows = list(csv.DictReader(io.StringIO(content)))
        mine = [(row[code], k) for row in rows if (row["part"] == "train") == train
                for k, code in enumerate(LANGUAGES) if row[code]]
        self.names, self.targets = [name for name, _ in mine], np.array([k for _, k in mine], dtype=np.int64)
        self.classes = list(LANGUAGES.values())
        self.letters = "".join(sorted({letter for row in rows for code in LANGUAGES for letter in row[code]}))

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        index = place(index, len(self), "Names")
        return self.names[index], int(self.targets[index])

    def encode(self, words):
        """Words as the numbers of their letters.

        Args:
            words: N strings, none of them empty.

        Returns:
            codes, int64 (T, N), where T is the longest length and 0 stands behind the end of a shorter word; and the
            lengths, int64 (N,). Both are NumPy arrays.

        Raises:
            DataError: a word is empty or has a letter that no name has.

        >>> codes, lengths = Names().encode(["mai", "luglio"])
        >>> codes.shape, lengths.tolist(), codes[3:, 0].tolist()
        ((6, 2), [3, 6], [0, 0, 0])
        """
        codes = {letter: k + 1 for k, letter in enumerate(self.letters)}
        for word in words:
            unknown = [letter for letter in word if letter not in codes]
            if unknown or not word:
                raise DataError(message("Names.encode: " + (f"no name has the letter {unknown[0]!r}." if word else
                                                            "a word has no letters."),
                                        [("word", repr(word)), ("letters", self.letters)], "small letters only."))
        lengths = np.array([len(word) for word in words], dtype=np.int64)
        table = np.zeros((lengths.max(initial=0), len(words)), dtype=np.int64)
        for n, word in enumerate(words):
            table[:len(word), n] = [codes[letter] for letter in word]
        return table, lengths

    def __repr__(self):
        return f"Names({len(self):,} names, {len(self.classes)} languages)"
