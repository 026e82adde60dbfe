"""Answers that use up time, memory, files or processes, or end their own.

Time and memory are bounded at every level; processes, threads and files by the box alone.
"""
from dataclasses import replace

from .attack import NOT_OK, answers, tries

# name: (verdict or verdicts, text that defines receptive_field)
ROWS = {
    "10^9 numbers": ({"memory", "wrong"}, "def receptive_field(layers):\n    return np.ones(10**9)"),
    "10^9 characters": ({"memory", "wrong"}, "def receptive_field(layers):\n    return 'x' * 10**9"),
    "10^12 numbers in a view": ("wrong", "def receptive_field(layers):\n    return np.broadcast_to(7, 10**12)"),
    "os._exit(0)": ("killed", "import os\ndef receptive_field(layers):\n    os._exit(0)"),
    "sys.exit(0)": ("wrong", "import sys\ndef receptive_field(layers):\n    sys.exit(0)"),
    "os._exit(0) when it is defined": ("killed", "import os\nreceptive_field = os._exit(0)"),
    "kills itself": ("killed", "import os\ndef receptive_field(layers):\n    os.kill(os.getpid(), 9)"),
    "reads beyond its memory": ("killed", """
import ctypes
def receptive_field(layers):
    return ctypes.string_at(8)
"""),
    "a loop": ("timeout", "def receptive_field(layers):\n    while True:\n        pass"),
    "a loop when it is defined": ("timeout", """
def forever():
    while True:
        pass
receptive_field = forever()
"""),
    "a loop that catches everything": ("timeout", """
import signal
for number in (2, 15):
    signal.signal(number, signal.SIG_IGN)
def receptive_field(layers):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
"""),
    "sleeps for ever": ("timeout", "import time\ndef receptive_field(layers):\n    time.sleep(1e6)"),
    "memory without end": ("memory", """
def receptive_field(layers):
    kept = []
    while True:
        kept.append(np.empty(10**7))
"""),
    "memory without end, swallowed": ({"memory", "wrong", "killed"}, """
def receptive_field(layers):
    kept = []
    try:
        while True:
            kept.append(np.empty(10**6))
    except MemoryError:
        return 7, 7
"""),
    "unbounded recursion": ({"killed", "wrong", "memory", "timeout"}, """
import sys
def receptive_field(layers):
    sys.setrecursionlimit(10**9)
    return receptive_field(layers)
"""),
    # --- time ---
    "a loop in C": ("timeout", "def receptive_field(layers):\n    return sum(range(10**15)), 7"),
    "a power without end": ("timeout", "def receptive_field(layers):\n    return 10**10**8 % 7, 7"),
    "a regular expression without end": ("timeout", """
import re
def receptive_field(layers):
    return len(re.match(r"(a+)+$", "a" * 60 + "b") or "1234567"), 7
"""),
    "a product of matrices that takes hours": ("timeout", """
def receptive_field(layers):
    a = np.ones((3000, 3000))
    while True:
        a = a @ a
"""),
    "a loop in __del__, at the end of the call": ("timeout", """
class Last:
    def __del__(self):
        while True: pass
def receptive_field(layers):
    last = Last()
    return 7, 7
"""),
    "a loop in the conversion of what is returned": ("timeout", """
class Slow:
    def __array__(self, *args, **settings):
        while True: pass
def receptive_field(layers):
    return Slow()
"""),
    "a generator that waits": ("timeout", """
import time
def receptive_field(layers):
    yield 7
    time.sleep(1e6)
"""),
    "a lock that is never given back": ("timeout", """
import threading
def receptive_field(layers):
    lock = threading.Lock()
    with lock, lock:
        return 7, 7
"""),
    "stops itself": ("timeout", """
import os, signal
def receptive_field(layers):
    os.kill(os.getpid(), signal.SIGSTOP)
    return 7, 7
"""),
    "the clock turned back": ("timeout", """
import time
time.time = time.monotonic = time.perf_counter = lambda: 0.0
def receptive_field(layers):
    for clock in range(12):
        try: time.clock_settime(clock, 0.0)
        except OSError: pass
    while time.monotonic() < 1e-9: pass
"""),
    "an alarm, caught": ("timeout", """
import signal
def receptive_field(layers):
    signal.signal(signal.SIGALRM, lambda *args: None)
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
    while True: pass
"""),
    # --- the compiler ---
    "a text that only a patient compiler reads": ({"import-error", "killed", "timeout", "memory"}, """
def receptive_field(layers):
    return """ + "-" * 300_000 + "7, 7"),
    "brackets, 200,000 deep": ({"import-error", "killed", "timeout", "memory"}, """
def receptive_field(layers):
    return """ + "(" * 200_000 + "7" + ")" * 200_000),
    "a constant that the compiler works out": (NOT_OK, """
def receptive_field(layers):
    return (1 << 10**12), "x" * 10**12, ((((7,) * 1000,) * 1000,) * 1000,) * 1000
"""),
    "an expression of 200,000 terms": (NOT_OK, """
def receptive_field(layers):
    return """ + "+".join("1" * 200_000) + ", 7"),
    # --- memory ---
    "mmap without end": (NOT_OK, """
import mmap
def receptive_field(layers):
    kept = []
    while True:
        kept.append(mmap.mmap(-1, 2**26))
        for at in range(0, 2**26, 4096):
            kept[-1][at] = 1
"""),
    "a terabyte at once": ("memory", "def receptive_field(layers):\n    return bytearray(2**40)"),
    "many small things": ({"memory", "timeout", "killed"}, """
def receptive_field(layers):
    kept = {}
    while True:
        kept[len(kept)] = [str(len(kept))]
"""),
    "texts that double": ({"memory", "wrong"}, """
def receptive_field(layers):
    text = "x"
    while True:
        text += text
"""),
    "memory locked": ({"wrong", "memory", "killed"}, """
import ctypes
def receptive_field(layers):
    ctypes.CDLL(None).mlockall(7)
    return len(np.ones(10**9)), 7
"""),
    "memory without end, when it is defined": ("memory", "receptive_field = np.ones(10**10)"),
    # --- the end ---
    "SIGKILL to itself when it is defined": ("killed", "import os\nreceptive_field = os.kill(os.getpid(), 9)"),
    "abort": ("killed", "import os\ndef receptive_field(layers):\n    os.abort()"),
    "deletes itself while it is called": (NOT_OK, """
import ctypes
def receptive_field(layers):
    for _ in range(1000):
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(None))
        ctypes.memset(id(layers), 0, 10_000)
    return 7, 7
"""),
    "an error in the middle of an error": ("wrong", """
def receptive_field(layers):
    try:
        return receptive_field(layers)
    finally:
        raise KeyboardInterrupt
"""),
    "GeneratorExit, SystemExit, KeyboardInterrupt when it is defined": ("import-error", """
def stop():
    raise SystemExit("PASS")
receptive_field = stop()
"""),
}

# Nothing but a box bounds these. name: the function `attack`, which returns what it got
BOXED = {
    "a fork bomb": """
import os, time
def attack():
    for _ in range(64):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    return True
""",
    "a fork bomb that goes on": (NOT_OK, """
import os
def attack():
    while True:
        try: os.fork()
        except OSError: return None
"""),
    "posix_spawn": """
import os, sys
def attack():
    return os.posix_spawn(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)"], os.environ)
""",
    "vfork and clone, by their numbers": """
import ctypes, os, time
def attack():
    libc, here = ctypes.CDLL(None, use_errno=True), os.getpid()
    if os.uname().machine != "x86_64":
        return None
    child = libc.syscall(ctypes.c_long(56), ctypes.c_long(17), *[ctypes.c_long(0)] * 4)
    if os.getpid() != here:
        time.sleep(60)
    return child > 0
""",
    "subprocess, with a shell": """
import subprocess
def attack():
    return subprocess.Popen("sleep 60", shell=True)
""",
    "multiprocessing": """
import multiprocessing, time
def attack():
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    return process.is_alive()
""",
    "a daemon, forked twice": """
import os, time
def attack():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(0.5)
            open(world["private"] + "/daemon", "w")
            time.sleep(60)
        os._exit(0)
    return True
""",
    "a thread bomb": """
import threading, time
def attack():
    for _ in range(64):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return True
""",
    "/tmp filled": ({"wrong", "killed"}, """
import os
def attack():
    block = b"x" * 2**20
    for folder in (os.environ["TMPDIR"], "/tmp", "/var/tmp", "."):
        written = 0
        try:
            for k in range(64):
                with open(f"{folder}/{k}", "wb", buffering=0) as file:
                    for _ in range(8):
                        written += file.write(block)
        except OSError:
            pass
        if written > 300 * 2**20:
            return True
"""),
    "/dev/shm filled": """
def attack():
    with open("/dev/shm/x", "wb", buffering=0) as file:
        return file.write(b"x" * 2**20)
""",
    "shared memory": """
import ctypes
def attack():
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.shmget(0, ctypes.c_long(2**24), 0o1666) >= 0 or libc.memfd_create(b"x", 0) >= 0
""",
    "100,000 empty files": ({"wrong", "killed"}, """
import os
def attack():
    for k in range(100_000):
        os.close(os.open(f"{os.environ['TMPDIR']}/{k}", os.O_CREAT | os.O_WRONLY))
    return True
"""),
    "a file with a hole of a terabyte": """
import os
def attack():
    with open(os.environ["TMPDIR"] + "/hole", "wb") as file:
        file.truncate(2**40)
    return True
""",
    "stderr without end": ({"wrong", "killed"}, """
import os
def attack():
    for _ in range(1000):
        os.write(2, b"x" * 2**20)
    return True
"""),
    "all descriptors": """
import os
def attack():
    return len([os.open("/dev/null", os.O_RDONLY) for _ in range(5000)])
""",
    "pipes filled": ({"wrong", "timeout", "memory"}, """
import fcntl, os
def attack():
    for _ in range(1000):
        reading, writing = os.pipe()
        fcntl.fcntl(writing, 1031, 2**20)
        os.set_blocking(writing, False)
        os.write(writing, b"x" * 2**20)
    return True
"""),
    "a core dump": ({"killed", "wrong"}, """
import os, resource
def attack():
    resource.setrlimit(resource.RLIMIT_CORE, (-1, -1))
    os.abort()
"""),
}
STARTS = {"a loop when it is defined"}

BOMBS = [replace(attack, start=attack.name in STARTS) for attack in answers(ROWS)]
BOXED_BOMBS = [replace(attack, linger=0.8 if "daemon" in attack.text else 0.0) for attack in tries(BOXED)]
