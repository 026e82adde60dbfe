"""Run a command that needs Chromium: find one, or install it with apt-get where this process may.

    python tools/chromium.py COMMAND ...

The command finds the program's path in the environment variable CHROMIUM. Where there is none, or no playwright to
drive it, the first line printed says what is missing and how to get it, and the command is left out. That is no error
on somebody's own machine, where it is a comfort; with CI=true and an apt-get that obeys it is one.
"""
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge", "msedge")
PLACES = (                                         # where installers put them without a word to the PATH
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)
NO_BROWSER = ("browser tests left out: there is no Chromium. Install it (Debian: apt-get install chromium), or name "
              "the program of a Chrome or an Edge in the environment variable CHROMIUM.")
NO_PLAYWRIGHT = 'browser tests left out: there is no playwright. Install it: python -m pip install -e ".[browser]"'


def found():
    """The path of a Chromium or of one of its relatives; None if there is none."""
    named = os.environ.get("CHROMIUM")
    if named:
        return shutil.which(named)
    return next(filter(None, map(shutil.which, (*NAMES, *PLACES))), None)


def may_install():
    """Whether apt-get is here and would obey."""
    return shutil.which("apt-get") is not None and hasattr(os, "geteuid") and os.geteuid() == 0


def install():
    """Let apt-get install Chromium."""
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    print("Chromium is missing: apt-get install chromium", flush=True)
    if subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "chromium"], **quiet).returncode:
        subprocess.run(["apt-get", "update"], **quiet)        # a fresh machine has no list of packages yet
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "chromium"], **quiet)


def missing():
    """What is missing, as a sentence; "" if nothing."""
    if importlib.util.find_spec("playwright") is None:
        return NO_PLAYWRIGHT
    if found() is None and not os.environ.get("CHROMIUM") and may_install():
        install()
    return "" if found() else NO_BROWSER


def main(command):
    """Hand on the command's exit status."""
    lacks = missing()
    if lacks:
        print(lacks, flush=True)
        return 1 if os.environ.get("CI", "").lower() in ("1", "true") and may_install() else 0
    environment = {**os.environ, "CHROMIUM": str(Path(found()).absolute())}
    return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
