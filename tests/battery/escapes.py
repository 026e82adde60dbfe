"""Answers that reach out of their process: for files, the network, other processes, the library, secrets.

Each function `attack` returns what it got, and then the answer is right: points show that an attack came through. Those
in REAL do come through at level 0, where nothing protects, and do no harm there.
"""
from dataclasses import replace

from .attack import tries

REAL = {
    "a secret file": "def attack():\n    return open(world['secret_file']).read()",
    "a secret file, by the C library": """
import ctypes
def attack():
    libc = ctypes.CDLL(None)
    number, room = libc.open(world["secret_file"].encode(), 0), ctypes.create_string_buffer(100)
    return libc.read(number, room, 100) > 0
""",
    "a secret file, by a link in its own folder": """
import os
def attack():
    link = os.environ["TMPDIR"] + "/link"
    if not os.path.lexists(link):
        os.symlink(world["secret_file"], link)
    return open(link).read()
""",
    "a secret file, by a second name": """
import os
def attack():
    name = os.environ["TMPDIR"] + "/name"
    if not os.path.exists(name):
        os.link(world["secret_file"], name)
    return open(name).read()
""",
    "a secret file, by a path that turns back": """
import os
def attack():
    return open(os.environ["TMPDIR"] + "/../.." * 20 + world["secret_file"]).read()
""",
    "the class's folder": "import os\ndef attack():\n    return os.listdir(world['class'])",
    "the home folder": """
import os, sys
def attack():
    return set(os.listdir(world["home"])) - set(sys.base_prefix.split("/"))     # Python itself may lie there
""",
    "the password file": "def attack():\n    return open('/etc/passwd').read()",
    "the gradebook, read": "def attack():\n    return open(world['grades'], 'rb').read(100)",
    "the solutions, by their path": "import os\ndef attack():\n    return os.listdir(world['solutions'])",
    "the reference, by its path": """
def attack():
    return open(world["package"] + "/grading/chapters/ch09.py").read()
""",
    "the tests, by their path": "import os\ndef attack():\n    return os.listdir(world['tests'])",
    "the judge, imported by its path": """
import sys
def attack():
    sys.path.insert(0, world["package"].removesuffix("/minidl"))
    for name in [name for name in sys.modules if name.split(".")[0] == "minidl"]:
        del sys.modules[name]
    import minidl.judge.task
    return True
""",
    "the reference, imported by its file": """
import importlib.util
def attack():
    path = world["package"] + "/grading/chapters/ch09.py"
    spec = importlib.util.spec_from_file_location("minidl.grading.chapters.ch09", path)
    return spec.loader.get_data(path)
""",
    "the reference, by linecache": """
import linecache
def attack():
    return linecache.getlines(world["package"] + "/grading/chapters/ch09.py")
""",
    "the judge's environment": """
def attack():
    return open(f"/proc/{world['judge']}/environ", "rb").read(10)
""",
    "the judge's command line": """
def attack():
    return open(f"/proc/{world['judge']}/cmdline", "rb").read(10)
""",
    "the judge's memory, by /proc": """
def attack():
    return open(f"/proc/{world['judge']}/mem", "rb")
""",
    "all processes": """
import os
def attack():
    return [open(f"/proc/{name}/cmdline").read() for name in os.listdir("/proc") if name.isdigit()]
""",
    "its own code, by /proc/self/mem": """
def attack():
    return open("/proc/self/mem", "r+b")
""",
    "a process, asked for by signal 0": "import os\ndef attack():\n    os.kill(world['victim'], 0)\n    return True",
    "another's limits": """
import resource
def attack():
    return resource.prlimit(world["victim"], resource.RLIMIT_CORE, (0, 0)) is not None
""",
    "another's processors": """
import os
def attack():
    os.sched_setaffinity(world["victim"], os.sched_getaffinity(world["victim"]))
    return True
""",
    "another's memory, by a system call": """
import ctypes
def attack():
    libc, room = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(8)
    way = (ctypes.c_void_p * 2)(ctypes.addressof(room), 8)
    libc.process_vm_readv(world["victim"], way, 1, (ctypes.c_void_p * 2)(1, 8), 1, 0)
    return ctypes.get_errno() == 14
""",
    "ptrace of the judge": """
import ctypes
def attack():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace(16, world["victim"], 0, 0)
    return libc.ptrace(17, world["victim"], 0, 0) >= 0 or ctypes.get_errno() == 3
""",
    "a file descriptor of the judge's": """
import ctypes
def attack():
    return ctypes.CDLL(None).syscall(ctypes.c_long(434), world["judge"], 0) >= 0
""",
    "a pair of sockets": "import socket\ndef attack():\n    return socket.socketpair()",
}

# These do damage where nothing protects.
HARMFUL = {
    "the gradebook, written": "def attack():\n    return open(world['grades'], 'ab').write(b'x')",
    "the gradebook, by SQL": """
import sqlite3
def attack():
    with sqlite3.connect(world["grades"]) as book:
        book.execute("UPDATE results SET points = 100")
    return True
""",
    "a gradebook emptied": """
import os
def attack():
    os.truncate(world["private"] + "/old-grades.db", 0)
    return True
""",
    "a file removed, moved, made": """
import os
def attack():
    for attempt in (lambda: os.unlink(world["private"] + "/script.sh"),
                    lambda: os.rename(world["private"] + "/script.sh", world["private"] + "/x"),
                    lambda: os.mkdir(world["private"] + "/new"), lambda: os.mkfifo(world["private"] + "/pipe"),
                    lambda: os.symlink("/", world["private"] + "/root")):
        try:
            attempt()
            return True
        except OSError:
            pass
""",
    "rights and times changed": """
import os
def attack():
    try:
        os.chmod(world["private"] + "/script.sh", 0o4777)
        return True
    except OSError:
        os.utime(world["private"] + "/script.sh", (0, 0))
        return True
""",
    "something planted at home": """
import os
def attack():
    return open(world["home"] + "/.minidl-battery", "w").close() is None and not os.remove(
        world["home"] + "/.minidl-battery")
""",
    "a submission of another, replaced": """
def attack():
    return open(world["class"] + "/ada/09.ipynb", "w").write("{}")
""",
    "the library that the next one imports": """
import minidl, sys
def attack():
    for name in ("minidl", "minidl.grading", "numpy", "seat.judge.frames", "os"):
        try:
            open(sys.modules[name].__file__, "a").write("# x")
            return True
        except OSError:
            pass
""",
    "sitecustomize and a .pth file": """
import os, sys
def attack():
    for folder in (*sys.path, *os.environ["PYTHONPATH"].split(":"), os.path.dirname(os.__file__)):
        for name in ("sitecustomize.py", "usercustomize.py", "x.pth", "numpy.py", "_frozen_importlib.py"):
            try:
                open(f"{folder or '.'}/{name}", "w").write("import os")
                return True
            except OSError:
                pass
""",
    "a byte-code file in the library": """
import importlib.util, os, minidl
def attack():
    place = importlib.util.cache_from_source(minidl.__file__)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    return open(place, "wb").write(b"x")
""",
    "LD_PRELOAD for whoever comes next": """
import os
def attack():
    os.environ["LD_PRELOAD"] = os.environ["TMPDIR"] + "/x.so"
    for place in ("/etc/ld.so.preload", "/etc/environment"):
        try:
            open(place, "a").close()
            return True
        except OSError:
            pass
""",
    "a loopback service": """
import socket
def attack():
    socket.create_connection(("127.0.0.1", world["tcp"]), 2)
    return True
""",
    "a datagram": """
import socket
def attack():
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", world["udp"]))
""",
    "a service's socket": """
import socket
def attack():
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(world["socket"])
    return True
""",
    "a socket without a file": """
import socket
def attack():
    with socket.socket(socket.AF_UNIX) as line:
        line.bind("\\0minidl-battery")
        line.listen()
    return True
""",
    "the world, by name and by number": """
import socket
def attack():
    for attempt in (lambda: socket.getaddrinfo("example.org", 80), lambda: socket.create_server(("", 0)),
                    lambda: socket.create_connection(("192.0.2.1", 80), 1), lambda: socket.socket(socket.AF_PACKET),
                    lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).bind((0, 0))):
        try:
            if attempt():
                return True
        except OSError:
            pass
""",
    "the network, by urllib": """
import urllib.request
def attack():
    return urllib.request.urlopen(f"http://127.0.0.1:{world['tcp']}/", timeout=1)
""",
    "SIGKILL for another": "import os\ndef attack():\n    os.kill(world['victim'], 9)\n    return True",
    "SIGTERM for the judge": "import os\ndef attack():\n    os.kill(world['judge'], 15)\n    return True",
    "SIGKILL for its parent": """
import os
def attack():
    os.kill(os.getppid() or 1, 9)
    return True
""",
    "kill(-1)": "import os\ndef attack():\n    os.kill(-1, 9)\n    return True",
    "killpg": "import os\ndef attack():\n    os.killpg(world['judge'], 9)\n    return True",
    "a signal by way of a pipe": """
import fcntl, os
def attack():
    reading, writing = os.pipe()
    fcntl.fcntl(reading, fcntl.F_SETOWN, world["victim"])
    fcntl.fcntl(reading, 10, 9)
    fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC)
    os.write(writing, b"x")
    return True
""",
    "a higher priority": "import os\ndef attack():\n    return os.nice(-5) < 0",
    "its own limits raised": """
import resource
def attack():
    for name in ("AS", "NPROC", "FSIZE", "CPU", "NOFILE", "CORE"):
        try:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (-1, -1))
            return True
        except (OSError, ValueError):
            pass
""",
    "namespaces and mounts": """
import ctypes
def attack():
    libc = ctypes.CDLL(None)
    return any(libc.unshare(flags) == 0 for flags in (0x1000_0000, 0x2_0000, 0x4000_0000)) or \\
        libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0 or libc.umount2(b"/tmp", 2) == 0
""",
    "another root": "import os\ndef attack():\n    os.chroot(os.environ['TMPDIR'])\n    return True",
    "root again": "import os\ndef attack():\n    os.setuid(0)\n    return open('/etc/shadow').read()",
    "a device made": """
import os
def attack():
    os.mknod(os.environ["TMPDIR"] + "/disk", 0o60666, os.makedev(8, 0))
    return True
""",
    "keys typed on the terminal": """
import fcntl, os
def attack():
    for place in ("/dev/tty", "/dev/console", 0, 1, 2):
        try:
            number = os.open(place, os.O_RDWR) if isinstance(place, str) else place
            fcntl.ioctl(number, 0x5412, b"x")
            return True
        except OSError:
            pass
""",
    "the machine stopped": """
import ctypes
def attack():
    libc = ctypes.CDLL(None)
    return libc.sethostname(b"x", 1) == 0 or libc.swapoff(b"/dev/null") == 0 or libc.syscall(304, 0, 0, 0) >= 0
""",
    "what programs there are": """
import os
def attack():
    for program in ("/bin/sh", "/usr/bin/env", "/usr/bin/id", world["private"] + "/script.sh"):
        os.execv(program, [program])
""",
    "calls that no answer needs": """
import ctypes, errno, os
def attack():
    numbers = (321, 425, 323, 298, 308, 250) if os.uname().machine == "x86_64" else (280, 425, 282, 241, 268, 219)
    libc = ctypes.CDLL(None, use_errno=True)
    for number in numbers:
        if libc.syscall(ctypes.c_long(number), *[ctypes.c_long(99)] * 4) >= 0 or \\
                errno.errorcode[ctypes.get_errno()] not in ("EPERM", "EACCES", "ENOSYS"):
            return True
""",
    "secrets in the environment": """
import os, sys
def attack():
    return "swordfish" in repr((dict(os.environ), sys.argv, sys.orig_argv))
""",
    "descriptors that were left open": """
import os
def attack():
    for number in range(64):
        try:
            if os.readlink(f"/proc/self/fd/{number}").endswith((".db", ".ipynb")):
                return True
        except OSError:
            pass
        try:
            if b"SQLite" in os.pread(number, 100, 0):
                return True
        except OSError:
            pass
""",
    "packages that are installed beside it": """
def attack():
    import pytest
    return True
""",
    "the kernel's settings": "def attack():\n    return open('/proc/sys/kernel/core_pattern', 'w').write('|/bin/sh')",
}
TOLD = {"what programs there are": frozenset({"wrong", "killed"}), "kill(-1)": frozenset({"wrong", "killed"}),
        "SIGKILL for its parent": frozenset({"wrong", "killed"})}

ESCAPES = [*tries(REAL, real=True), *(replace(attack, verdicts=TOLD.get(attack.name, "wrong"))
                                      for attack in tries(HARMFUL))]
