"""Level 2: the command line of Docker or Podman, for machines that have them and no bubblewrap.

The image holds Python and NumPy, nothing else; minidl and the shown files come from here. It is made once:

    printf 'FROM python:3.11-slim\\nRUN pip install --target /packages numpy\\n' | docker build -t minidl-judge -

A start costs some tenths of a second, ten times that of bubblewrap, and a daemon of root's does the work. A container
whose judge was killed lives on until its limit on CPU time.
"""
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import visible

IMAGE = "minidl-judge"                       # another one: the environment's MINIDL_IMAGE
PYTHON = "/usr/local/bin/python3"
TASK, PACKAGES, SCRATCH = "/task", "/packages", "/tmp"
USER = "65534:65534"
IN_THE_IMAGE = ("numpy", "numpy.libs")
OVERHEAD_MB = 64                             # the fence beside the student's process, and files in /tmp


def program() -> str | None:
    """Where Podman or Docker is; None if neither is installed."""
    return shutil.which("podman") or shutil.which("docker")


def command(name: str, packages: Sequence[visible.Package], task: Path, empty: Path, env: Mapping[str, str],
            memory_mb: int) -> list[str]:
    """The engine with its arguments; what Python is given comes after them.

    Args:
        name: the container's, by which it is ended.
        packages: what is to be imported, besides what the image has.
        task: the folder of the shown files.
        empty: an empty folder, which covers what is hidden.
        env: the whole environment of the process.
        memory_mb: memory of the process, in MiB.
    """
    memory = f"{memory_mb + OVERHEAD_MB}m"
    return [program() or "docker", "run", "--interactive", "--name", name, "--pull", "never", "--network", "none",
            "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", USER,
            "--pids-limit", "16", "--memory", memory, "--memory-swap", memory, "--ipc", "none", "--log-driver", "none",
            "--tmpfs", f"{SCRATCH}:rw,size=16m,nosuid,nodev,noexec", *_mount(task, TASK), *_imports(packages, empty),
            *(word for key, value in env.items() for word in ("--env", f"{key}={value}")),
            "--workdir", TASK, "--entrypoint", PYTHON, os.environ.get("MINIDL_IMAGE", IMAGE)]


def ending(name: str) -> list[str]:
    """The command that kills a container and forgets it."""
    return [program() or "docker", "rm", "--force", "--volumes", name]


def question(name: str) -> list[str]:
    """The command that tells whether the kernel ended a container for its memory: it prints `true`."""
    return [program() or "docker", "inspect", "--format", "{{.State.OOMKilled}}", name]


def _imports(packages: Sequence[visible.Package], empty: Path) -> list[str]:
    words = []
    for package in packages:
        if package.path.name in IN_THE_IMAGE:
            continue
        place = f"{PACKAGES}/{package.path.name}"
        words += _mount(package.path, place)
        for name in package.without:
            if (package.path / name).is_dir():
                words += _mount(empty, f"{place}/{name}")
    return words


def _mount(here: Path, there: str) -> list[str]:
    """Read-only. The option is a line of CSV, so a path with a comma or a quote is quoted as there."""
    source = f"source={here}".replace('"', '""')
    return ["--mount", f'type=bind,"{source}",target={there},readonly']
