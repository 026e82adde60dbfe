"""The fence: a script that shuts its own process in and then becomes the student's process.

It runs inside the box, before any line of a student: `python -I -S fence.py`, its source handed over with `-c` and its
orders as JSON. It imports nothing of minidl, because minidl may not be visible yet. What it gives up (memory, files,
system calls) nothing that comes after it can take back.

The judge learns over a pipe of its own that the fence stands (`ready`, or the pipe closes without a word), or why it
does not (`fault: ...`). The student's process never holds that pipe.
"""
import json
import os
import sys

# <linux/prctl.h>, <linux/landlock.h>, <linux/seccomp.h>
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446     # on every architecture
LANDLOCK_RULE_PATH_BENEATH = 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = 1, 2, 4, 8, 16, 32
MAKE_DIR, MAKE_FILE, MAKE_LINK, REFER, TRUNCATE = 1 << 7, 1 << 8, 1 << 12, 1 << 13, 1 << 14
LANDLOCK_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}    # the rights each ABI knows
LANDLOCK_NET, LANDLOCK_SCOPES = 0b11, 0b11           # bind and connect (from ABI 4); abstract sockets, signals (from 6)
CAPABILITY_VERSION = 0x20080522
SIGKILL = 9
OWN_PID = (0x7FFF_FFFF).to_bytes(4, "little")        # where the filter has this number, it means this process


def main(orders):
    """Shut this process in as `orders` say, and run the student's command in it."""
    report = orders["report"]
    try:
        if report is not None:
            os.set_inheritable(report, False)
        if orders["init"]:
            watch_over_a_child(orders, report)
        else:
            shut_in(orders)
            os.execve(orders["argv"][0], orders["argv"], os.environ)
    except BaseException as error:
        tell(report, f"fault: {type(error).__name__}: {error}\n".encode(errors="replace"))
        os._exit(70)


def tell(report, text):
    """Say something to the judge."""
    if report is not None:
        os.write(report, text)


def watch_over_a_child(orders, report):
    """The first process of a PID namespace: its child is the student, and its end is the end of every process there.

    It tells the judge the student's exact end and peak of memory, which the exit status of a wrapper cannot. It stays
    the user that the wrapper is, though without powers: else the wrapper's end could not end it.
    """
    started, starting = os.pipe()
    child = os.fork()
    if not child:
        try:
            if report is not None:
                os.close(report)
            shut_in(orders)
            os.execve(orders["argv"][0], orders["argv"], os.environ)      # which closes `starting`
        except BaseException as error:
            os.write(starting, f"{type(error).__name__}: {error}".encode(errors="replace"))
        os._exit(70)
    os.close(starting)
    if orders["no_capabilities"]:
        drop_capabilities()
    for descriptor in (0, 1):
        os.close(descriptor)                                       # the channel is the student's alone
    fault = os.read(started, 10_000)
    tell(report, b"fault: " + fault + b"\n" if fault else b"ready\n")
    if fault:
        os.write(2, fault)
    _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    tell(report, f"end {code} {usage.ru_maxrss}\n".encode())
    os._exit(code if code >= 0 else 128 - code)


def shut_in(orders):
    """Give up everything that the orders do not leave; from here on nothing can be had back."""
    if orders["user"] is not None:
        become(orders["user"])
    set_limits(orders["limits"])
    if orders["no_capabilities"]:
        drop_capabilities()
    if orders["landlock"] is not None or orders["seccomp"] is not None:
        kernel("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if orders["die_with"] is not None:
        kernel("prctl", PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
        if os.getppid() != orders["die_with"]:
            raise RuntimeError("the judge is gone")
    if orders["landlock"] is not None:
        landlock(orders["landlock"])
    if orders["seccomp"] is not None:
        seccomp(bytes.fromhex(orders["seccomp"]))


def become(user):
    """An ordinary user without groups: root is bound by no limit on processes and may read every file."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def set_limits(limits):
    """Limits of the kernel on this process, by name: {"AS": bytes, "CPU": seconds, ...}."""
    import resource

    for name, value in limits.items():
        which = getattr(resource, f"RLIMIT_{name}", None)
        if which is None:
            continue
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(which, (value, value))
        except (ValueError, OSError):
            if sys.platform == "linux":                            # macOS knows the names and refuses some
                raise


def drop_capabilities():
    """No powers of root, not even some to hand on. Who stays root still owns root's files, so Landlock comes next."""
    import ctypes

    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    kernel("capset", header, (ctypes.c_uint32 * 6)())


def landlock(rules):
    """Leave access to these paths alone, out of all files; and none to the network.

    Args:
        rules: [path, rights] pairs; the rights count for the path and all that lies below it.
    """
    import ctypes

    version = syscall(LANDLOCK_CREATE_RULESET, None, 0, 1)
    files = LANDLOCK_FILES[max(known for known in LANDLOCK_FILES if known <= version)]
    handled = [files, LANDLOCK_NET if version >= 4 else 0, LANDLOCK_SCOPES if version >= 6 else 0]
    size = 24 if version >= 6 else 16 if version >= 4 else 8       # the struct grew with the ABI
    ruleset = syscall(LANDLOCK_CREATE_RULESET, (ctypes.c_uint64 * 3)(*handled), size, 0)
    for path, rights in rules:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = (rights & files).to_bytes(8, sys.byteorder) + place.to_bytes(4, sys.byteorder)
        syscall(LANDLOCK_ADD_RULE, ruleset, LANDLOCK_RULE_PATH_BENEATH, rule, 0)
        os.close(place)
    syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def seccomp(program):
    """Load a filter of system calls, 8 bytes an instruction (tools/make_seccomp.py)."""
    import ctypes

    steps = [program[k:k + 8] for k in range(0, len(program), 8)]
    pid = os.getpid().to_bytes(4, "little")
    program = b"".join(step[:4] + pid if step[4:] == OWN_PID else step for step in steps)

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]

    kernel("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Program(len(steps), program)), 0, 0)


def syscall(number, *arguments):
    """A system call that the C library has no name for."""
    import ctypes

    return kernel("syscall", ctypes.c_long(number), *arguments)


def kernel(function, *arguments):
    """Call a function of the C library; what it refuses is an OSError."""
    import ctypes

    # Every whole number as a C long: variadic functions read whole registers.
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = getattr(ctypes.CDLL(None, use_errno=True), function)(*wide)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{function}: {os.strerror(error)}")
    return result


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
