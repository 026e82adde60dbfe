"""What a student's process may see of this machine: Python's own files, NumPy, and minidl without its answers.

Everything is named here once; the levels of `sandbox.py` turn it into mounts (L3, L2) or into rules of Landlock (L1).
"""
import functools
import os
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .fence import (
    EXECUTE,
    MAKE_DIR,
    MAKE_FILE,
    MAKE_LINK,
    READ_DIR,
    READ_FILE,
    REFER,
    REMOVE_DIR,
    REMOVE_FILE,
    TRUNCATE,
    WRITE_FILE,
)

SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/etc/alternatives")
STORES = ("/nix/store", "/gnu/store")                # systems that keep every library in a folder of its own
TO_WRITE = (READ_DIR | READ_FILE | WRITE_FILE | MAKE_DIR | MAKE_FILE | MAKE_LINK | REMOVE_DIR | REMOVE_FILE | REFER
            | TRUNCATE)
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


@dataclass(frozen=True)
class Package:
    """Something to import: a package's folder or a module's file.

    Attributes:
        path: where it lies.
        without: names right below it that stay unseen.
    """

    path: Path
    without: tuple[str, ...] = ()

    def seen(self) -> list[Path]:
        """What lies right below the package's folder and can be seen."""
        return [child for child in sorted(self.path.iterdir()) if child.name not in self.without]


@functools.cache
def library() -> tuple[Package, ...]:
    """What every student's process can import: NumPy with its libraries, and minidl without exercises and judge."""
    import numpy

    found = Path(numpy.__file__).parent
    libraries = found.with_name("numpy.libs")
    numpys = (Package(found), *([Package(libraries)] if libraries.is_dir() else []))
    return (*numpys, Package(Path(__file__).parents[1], ("grading", "judge")))


@functools.cache
def interpreter() -> str:
    """The Python that a student's process runs: the one behind the judge's virtual environment, if it has one."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


@functools.cache
def system_places() -> tuple[str, ...]:
    """Files and folders that Python needs, apart from packages; none of them lies below another."""
    python = [interpreter(), sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"),
              os.path.join(sys.base_prefix, "lib"), os.path.join(sys.base_exec_prefix, "lib")]
    stores = [store for store in STORES if interpreter().startswith(store + "/")]
    kept: list[str] = []
    for place in sorted({*SYSTEM, *python, *stores}, key=len):
        if os.path.lexists(place) and not any(place.startswith(parent + "/") for parent in kept):
            kept.append(place)
    return tuple(kept)


@functools.cache
def hidden_places() -> tuple[str, ...]:
    """Folders of installed packages below `system_places`: whatever lies there is no business of a student's code."""
    return tuple(str(folder) for place in system_places() if os.path.isdir(place) and not os.path.islink(place)
                 for pattern in ("site-packages", "dist-packages", "python3*/*-packages")
                 for folder in Path(place).glob(pattern) if folder.is_dir() and not folder.is_symlink())


def landlock_rules(packages: Sequence[Package], folders: Sequence[Path], scratch: Path) -> list[tuple[str, int]]:
    """(path, rights) of all that a process may open; the rights count for everything below the path.

    Where something below a folder is hidden, the folder can be listed and its other children are named one by one:
    names of what is hidden can be read there, and no more than the names.

    Args:
        packages: what is to be imported.
        folders: folders that can be read whole.
        scratch: the folder to write in.
    """
    rules = [(device, READ_FILE | (WRITE_FILE if device == "/dev/null" else 0)) for device in DEVICES]
    rules += _system_rules()
    for package in packages:
        if package.without:
            rules += [(str(package.path), READ_DIR), *(_rule(child) for child in package.seen())]
        else:
            rules.append(_rule(package.path))
    return [*rules, *map(_rule, folders), (str(scratch), TO_WRITE)]


@functools.cache
def _system_rules() -> tuple[tuple[str, int], ...]:
    places = {os.path.realpath(place) for place in system_places()}
    return tuple(rule for place in sorted(places) for rule in _without_hidden(Path(place)))


def _without_hidden(place: Path) -> list[tuple[str, int]]:
    if str(place) in hidden_places():
        return []
    if not any(hidden.startswith(f"{place}/") for hidden in hidden_places()):
        return [_rule(place)]
    children = [child for child in sorted(place.iterdir()) if not child.is_symlink()]
    return [(str(place), READ_DIR), *(rule for child in children for rule in _without_hidden(child))]


def _rule(path: Path) -> tuple[str, int]:
    return str(path), READ_FILE | EXECUTE | (READ_DIR if path.is_dir() else 0)


def open_to_all(paths: Sequence[str | Path]) -> bool:
    """True if an ordinary user can come to these paths: root's home, for one, is closed to others."""
    folders = {parent for path in paths for parent in Path(path).resolve().parents}
    return all(folder.stat().st_mode & 0o001 for folder in folders)
