"""Run a command with the network cut off, where the machine allows it.

    python tools/offline.py COMMAND ...

On Linux the command gets a network namespace of its own, in which only the loopback interface is up (Jupyter's kernels
talk over it). Elsewhere, or where the system forbids it, the command runs as it is; the first line printed says which.
"""
import os
import shutil
import socket
import struct
import subprocess
import sys

UNSHARE = ("unshare", "--map-root-user", "--net")
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1          # from Linux' sockios.h and if.h
INSIDE = "--inside"


def can_unshare():
    """Whether a network namespace may be made here."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0


def raise_loopback():
    """`ip link set lo up`, without needing the `ip` command."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def main(command):
    """Replace this process, or hand on the command's exit status."""
    if command[:1] == [INSIDE]:
        raise_loopback()
        os.execvp(command[1], command[1:])
    if can_unshare():
        print("network: off (a namespace with loopback only)", flush=True)
        os.execvp(UNSHARE[0], [*UNSHARE, sys.executable, __file__, INSIDE, *command])
    print("network: not cut off (this machine does not allow it)", flush=True)
    return subprocess.call(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
