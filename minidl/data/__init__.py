"""Data: sets of items, the order they are read in, batches, and what is done to images on the way.

    dataset     Dataset: how many items, and which is item k?
    sampler     in which order an epoch reads them
    collate     many items become one batch
    loader      DataLoader: all of this together, resumable, prefetching if asked
    transforms  images to tensors, normalised, cropped, shifted, turned
    datasets    MNIST10k and Digits come with the package; MNIST can be downloaded
    names       Names: words in ten languages come with the package
    series      sunspots come with the package: a series in time
    toy         spirals, moons, blobs: points of the plane
    download    one file, from mirrors, checked by digest
"""
from . import transforms
from .collate import default_collate
from .dataset import ConcatDataset, Dataset, Subset, TensorDataset, random_split
from .datasets import MNIST, Digits, ImageDataset, MNIST10k, read_idx
from .download import fetch
from .loader import DataLoader
from .names import Names
from .sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from .series import sunspots
from .toy import blobs, moons, spirals
from .transforms import (
    Compose,
    Lambda,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomRotation,
    RandomShift,
    ToTensor,
    Transform,
)

__all__ = [
    "BatchSampler", "Compose", "ConcatDataset", "DataLoader", "Dataset", "Digits", "ImageDataset", "Lambda",
    "MNIST", "MNIST10k", "Names", "Normalize", "RandomCrop", "RandomHorizontalFlip", "RandomRotation",
    "RandomSampler", "RandomShift", "Sampler", "SequentialSampler", "Subset", "SubsetRandomSampler",
    "TensorDataset", "ToTensor", "Transform", "WeightedRandomSampler", "blobs", "default_collate", "fetch", "moons",
    "random_split", "read_idx", "spirals", "sunspots", "transforms",
]
