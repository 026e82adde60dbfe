"""Level 3: the command line of bubblewrap, which gives a process namespaces of its own and needs no root.

    files      a new, empty root that can be read only: Python, packages, the shown files; 16 MiB to write in /tmp
    processes  the fence is the first process, so its end is the end of all; no others can be seen
    network    none, not even a loopback that anybody listens on
    users      no capabilities; an ordinary user, even if the judge runs as root

There is no /proc, no terminal and no program besides Python. https://github.com/containers/bubblewrap
"""
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from . import visible

SCRATCH_BYTES = 16 * 2**20
USER = 65534                 # what the process sees as its own number in a user namespace
TASK, PACKAGES, SCRATCH = "/task", "/packages", "/tmp"


def program() -> str | None:
    """Where bubblewrap is; None if it is not installed."""
    return shutil.which("bwrap")


def command(packages: Sequence[visible.Package], task: Path, empty: Path, info: int) -> list[str]:
    """bubblewrap with its arguments; the command to run comes after them.

    Args:
        packages: what is to be imported.
        task: the folder of the shown files.
        empty: an empty folder, which covers what is hidden.
        info: the descriptor on which bubblewrap tells the number of the first process.
    """
    return [program() or "bwrap", *namespaces(os.geteuid() == 0), "--info-fd", str(info),
            *system(empty), *imports(packages, empty), *devices(),
            "--ro-bind", str(task), TASK, "--perms", "1777", "--size", str(SCRATCH_BYTES), "--tmpfs", SCRATCH,
            "--remount-ro", "/", "--chdir", TASK, "--"]


def namespaces(root: bool) -> list[str]:
    """Namespaces of its own.

    Root needs no user namespace, and would stay root in one: the kernel does not hold it to a number of processes.
    It keeps two capabilities until the fence has become an ordinary user.
    """
    names = [f"--unshare-{name}" for name in ("ipc", "pid", "net", "uts", "cgroup-try")]
    users = ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if root else [
        "--unshare-user", "--uid", str(USER), "--gid", str(USER)]
    return [*names, "--as-pid-1", "--die-with-parent", "--new-session", "--hostname", "box", "--cap-drop", "ALL",
            *users]


def system(empty: Path) -> list[str]:
    """Python's own files and the system's libraries, without the packages installed there."""
    words = [word for folder in _parents(visible.system_places()) for word in ("--perms", "0755", "--dir", folder)]
    for place in visible.system_places():
        words += ["--symlink", os.readlink(place), place] if os.path.islink(place) else ["--ro-bind", place, place]
    for place in visible.hidden_places():
        words += ["--ro-bind", str(empty), place]
    return words


def _parents(places: Sequence[str]) -> list[str]:
    """The folders above the places, the highest first. Left to itself, bubblewrap would close them to others."""
    return sorted({str(parent) for place in places for parent in Path(place).parents} - {"/"})


def imports(packages: Sequence[visible.Package], empty: Path) -> list[str]:
    """The packages, side by side in one folder."""
    words = ["--dir", PACKAGES]
    for package in packages:
        place = f"{PACKAGES}/{package.path.name}"
        words += ["--ro-bind", str(package.path), place]
        for name in package.without:
            if (package.path / name).is_dir():
                words += ["--ro-bind", str(empty), f"{place}/{name}"]
    return words


def devices() -> list[str]:
    """The four devices that programs expect; bubblewrap's own --dev would add a terminal and an unlimited /dev/shm."""
    return ["--dir", "/dev", *(word for device in visible.DEVICES for word in ("--dev-bind", device, device))]
