"""Run a command that attacks the judge, at the strongest level that can be had here.

    python tools/bubblewrap.py COMMAND ...

Level 3 needs bubblewrap: where it is missing and this process may, apt-get installs it. Where level 3 cannot be had,
the first line printed says why, and the command runs at level 1 or 0 instead: it finds the level in the environment
variable MINIDL_LEVEL. With CI=true, a bubblewrap that apt-get could install and that is not there all the same is an
error.
"""
import os
import shutil
import subprocess
import sys

from minidl.judge import sandbox

LEVELS = ("L3", "L1", "L0")                        # level 2 takes a second to start, and tries nothing that 3 does not


def may_install():
    """Whether apt-get is here and would obey."""
    return shutil.which("apt-get") is not None and hasattr(os, "geteuid") and os.geteuid() == 0


def install():
    """Let apt-get install bubblewrap."""
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    print("bubblewrap is missing: apt-get install bubblewrap", flush=True)
    if subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "bubblewrap"], **quiet).returncode:
        subprocess.run(["apt-get", "update"], **quiet)        # a fresh machine has no list of packages yet
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "bubblewrap"], **quiet)


def main(command):
    """Hand on the command's exit status."""
    if shutil.which("bwrap") is None and may_install():
        install()
        if shutil.which("bwrap") is None and os.environ.get("CI", "").lower() in ("1", "true"):
            print("bubblewrap could not be installed, so the battery cannot run at level 3", flush=True)
            return 1
    for level in LEVELS:
        if not (reason := sandbox.lacks(level)):
            break
        print(f"{level} cannot be had here: {'; '.join(map(str.strip, reason.splitlines()))}", flush=True)
    print(f"battery: at level {level[1:]}", flush=True)
    return subprocess.run(command, env={**os.environ, "MINIDL_LEVEL": level}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
