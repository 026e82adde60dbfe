"""Series in time: numbers in an order that must not be shuffled.

    sunspots    how many spots the sun had, year by year from 1700 to 2008; in the package
"""
import io

import numpy as np

from .datasets import bundled

SHA256 = "2dc4516133b04e4dc99b4caa67dc670570d2270e0c618e2adfa4663d47a704cd"


def sunspots():
    """The yearly sunspot numbers from 1700 to 2008, which come with minidl.

    They were published by the National Geophysical Data Center of the United States, on the scale that was in use
    before its revision in 2015, and are in the public domain; the copy in statsmodels. See minidl/data/README.md.

    Returns:
        the years, int64 (309,), and the number of each year, float64 (309,), as NumPy arrays.

    Raises:
        DataError: the file in the package is missing or damaged.

    >>> year, number = sunspots()
    >>> number.shape, int(year[number.argmax()])
    ((309,), 1957)
    """
    content = bundled("sunspots.npz", SHA256)
    with np.load(io.BytesIO(content)) as arrays:
        return arrays["year"], arrays["number"]
