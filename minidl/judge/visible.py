"""What a student's process may see of this machine: Python's own files, NumPy, and minidl without its answers.

Everything is named here once; the levels of `sandbox.py` turn it into mounts (L3, L2) or into rules of Landlock (L1).
"""
import functools
import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/etc/alternatives")
STORES = ("/nix/store", "/gnu/store")                # systems that keep every library in a folder of its own
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
