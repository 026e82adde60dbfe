"""Make the filter of system calls that stands around a student's process: minidl/judge/seccomp_*.bpf.

    python tools/make_seccomp.py            write the files
    python tools/make_seccomp.py --check    fail if they are not what this script makes

The filter is a program for the kernel's classic BPF machine, 8 bytes an instruction, which looks at the number of a
call, at its architecture and at its arguments as far as they are numbers. It names what Python and NumPy need and
refuses the rest: a call that the next kernel invents is refused before anybody has heard of it.

* The wrong architecture, and x86_64's x32 numbers: the process is killed.
* A new process or thread: EAGAIN, as if the limit on processes had been met; `clone3`: ENOSYS, so that C libraries
  try `clone`.
* Signals, limits: only for itself. The process's own number is not known yet; OWN_PID stands for it, and fence.py puts
  the number in its place.
* `ioctl`, `fcntl`, `prctl`: what is named below. So no TIOCSTI, which types on a terminal; no F_SETOWN with F_SETSIG,
  which sends any signal to anybody by way of a pipe.
* A file opened for reading and cut to nothing by O_TRUNC: Landlock before ABI 3 takes it for reading.
* Any other call: EPERM, or ENOSYS for numbers beyond those known here.

Sources: Linux's Documentation/userspace-api/seccomp_filter.rst; <linux/filter.h>, <linux/seccomp.h>, <linux/audit.h>.
The numbers are those of arch/x86/entry/syscalls/syscall_64.tbl and of include/uapi/asm-generic/unistd.h (aarch64); a
test compares them with libseccomp's where that is installed.
"""
import struct
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "minidl" / "judge"
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}      # place in the tables; AUDIT_ARCH_*
OWN_PID = 0x7FFF_FFFF
LAST_KNOWN = 462                 # mseal, of Linux 6.10; new calls have the same number everywhere
X32_BIT = 0x4000_0000

EPERM, EAGAIN, ENOTTY, ENOSYS = 1, 11, 25, 38        # Linux's, wherever this script runs

# The machine's instructions, and what a program can return
LOAD, AND, EQUAL, AT_LEAST, ABOVE, RETURN = 0x20, 0x54, 0x15, 0x35, 0x25, 0x06
KILL, ERRNO, ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16       # places in struct seccomp_data; all that is looked at is 32 bits wide

# name: (number on x86_64, on aarch64)
ALLOWED = {
    # bytes in and out
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "lseek": (8, 62), "pread64": (17, 67), "pwrite64": (18, 68),
    "readv": (19, 65), "writev": (20, 66), "preadv": (295, 69), "pwritev": (296, 70), "sendfile": (40, 71),
    "copy_file_range": (326, 285),
    # memory; `memfd_create` is not here: what lies in such a file counts for no limit
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233),
    "brk": (12, 214),
    # signals to itself and its own clockwork
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133), "sigaltstack": (131, 132),
    "restart_syscall": (219, 128), "pause": (34, None), "alarm": (37, None), "getitimer": (36, 102),
    "setitimer": (38, 103),
    # what the C library needs of a thread
    "futex": (202, 98), "set_robust_list": (273, 99), "get_robust_list": (274, 100), "set_tid_address": (218, 96),
    "rseq": (334, 293), "membarrier": (324, 283), "arch_prctl": (158, None), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "getcpu": (309, 168),
    # files: where one may is a matter of mounts and of Landlock, which do not watch over owners, modes and times
    "creat": (85, None), "stat": (4, None), "fstat": (5, 80), "lstat": (6, None), "newfstatat": (262, 79),
    "statx": (332, 291), "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "readlink": (89, None), "readlinkat": (267, 78), "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50),
    "getdents": (78, None), "getdents64": (217, 61), "statfs": (137, 43), "fstatfs": (138, 44), "umask": (95, 166),
    "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35),
    "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "symlink": (88, None),
    "symlinkat": (266, 36), "ftruncate": (77, 46), "fallocate": (285, 47), "fsync": (74, 82), "fdatasync": (75, 83),
    "fadvise64": (221, 223), "flock": (73, 32),
    # descriptors
    "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "pipe": (22, None), "pipe2": (293, 59), "poll": (7, None),
    "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72), "epoll_create": (213, None),
    "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None), "epoll_pwait": (281, 22),
    "epoll_pwait2": (441, 441), "eventfd": (284, None), "eventfd2": (290, 19),
    # a process without children
    "execve": (59, 221), "exit": (60, 93), "exit_group": (231, 94), "wait4": (61, 260), "waitid": (247, 95),
    "getrlimit": (97, 163), "setrlimit": (160, 164), "getrusage": (98, 165), "getpriority": (140, 141),
    # who and where it is, what time it is, chance
    "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173), "getpgid": (121, 155), "getpgrp": (111, None),
    "getsid": (124, 156), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177),
    "getresuid": (118, 148), "getresgid": (120, 150), "getgroups": (115, 158), "capget": (125, 90),
    "times": (100, 153), "uname": (63, 160), "sysinfo": (99, 179), "getrandom": (318, 278), "time": (201, None),
    "gettimeofday": (96, 169), "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
}

REFUSED = {
    "clone": (56, 220, EAGAIN), "fork": (57, None, EAGAIN), "vfork": (58, None, EAGAIN),
    "clone3": (435, 435, ENOSYS), "openat2": (437, 437, ENOSYS),
}

# name: (number on x86_64, on aarch64, which argument, its values that are allowed, the error for others)
ONLY_WITH = {
    "kill": (62, 129, 0, (OWN_PID,), EPERM),
    "tkill": (200, 130, 0, (OWN_PID,), EPERM),
    "tgkill": (234, 131, 0, (OWN_PID,), EPERM),
    "prlimit64": (302, 261, 0, (0,), EPERM),
    # PR_SET_NAME, PR_GET_NAME, PR_SET_VMA
    "prctl": (157, 167, 0, (15, 16, 0x5356_4D41), EPERM),
    # TCGETS, TCGETS2, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
    "ioctl": (16, 29, 1, (0x5401, 0x802C_542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451), ENOTTY),
    # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETLKW, F_DUPFD_CLOEXEC, F_GETPIPE_SZ
    "fcntl": (72, 25, 1, (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1032), EPERM),
}

# name: (number on x86_64, on aarch64, which argument, the bits that are looked at, their values that are not allowed)
O_ACCMODE, O_TRUNC = 0o3, 0o1000
NOT_WITH = {
    "open": (2, None, 1, O_ACCMODE | O_TRUNC, (O_TRUNC, O_TRUNC | O_ACCMODE)),
    "openat": (257, 56, 2, O_ACCMODE | O_TRUNC, (O_TRUNC, O_TRUNC | O_ACCMODE)),
}


def program(architecture):
    """The filter for one architecture, as bytes.

    It only ever runs down or ends: each question skips its own answer or gives it.
    """
    place, audit = ARCHITECTURES[architecture]
    steps = [(LOAD, ARCHITECTURE), *unless((EQUAL, audit), (RETURN, KILL)), (LOAD, NUMBER)]
    if architecture == "x86_64":
        steps += when((AT_LEAST, X32_BIT), (RETURN, KILL))
    for numbers, answer in rules(place):
        if numbers[place] is not None:
            steps += when((EQUAL, numbers[place]), *answer)
    steps += [*when((ABOVE, LAST_KNOWN), error(ENOSYS)), error(EPERM)]
    return b"".join(struct.pack("<HBBI", *step) for step in map(whole, steps))


def rules(place):
    """(the two numbers of a call, the steps that answer it), the commonest first."""
    for numbers in ALLOWED.values():
        yield numbers, [(RETURN, ALLOW)]
    for *numbers, code in REFUSED.values():
        yield numbers, [error(code)]
    for *numbers, argument, values, code in ONLY_WITH.values():
        answers = [step for value in values for step in when((EQUAL, value), (RETURN, ALLOW))]
        yield numbers, [(LOAD, ARGUMENTS + 8 * argument), *answers, error(code)]
    for *numbers, argument, mask, values in NOT_WITH.values():
        answers = [step for value in values for step in when((EQUAL, value), error(EPERM))]
        yield numbers, [(LOAD, ARGUMENTS + 8 * argument), (AND, mask), *answers, (RETURN, ALLOW)]


def when(question, *answer):
    """The answer's steps, skipped if the question says no."""
    return [(*question, 0, len(answer)), *answer]


def unless(question, *answer):
    """The answer's steps, skipped if the question says yes."""
    return [(*question, len(answer), 0), *answer]


def error(code):
    """The call fails with this errno."""
    return RETURN, ERRNO | code


def whole(step):
    """(code, value[, steps to skip on yes, on no]) in the order of struct sock_filter."""
    code, value, yes, no = (*step, 0, 0)[:4]
    return code, yes, no, value


def main(argv):
    """Write the files, or compare them."""
    stale = []
    for architecture in ARCHITECTURES:
        path, made = FOLDER / f"seccomp_{architecture}.bpf", program(architecture)
        if argv == ["--check"]:
            stale += [] if path.is_file() and path.read_bytes() == made else [path.name]
        else:
            path.write_bytes(made)
            print(f"{path.name}: {len(made) // 8} instructions")
    return f"not what tools/make_seccomp.py makes: {', '.join(stale)}" if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
