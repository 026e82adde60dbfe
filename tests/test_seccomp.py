"""The filter of system calls: its bytes come from the script, and decide as the script says, on both architectures."""
import ctypes
import ctypes.util
import errno
import importlib.util
import struct
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("make_seccomp", ROOT / "tools" / "make_seccomp.py")
make = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make)

KILL, ALLOW = "kill", "allow"
NEVER = {           # on x86_64, on aarch64: what grading.md's battery tries
    "unshare": (272, 97), "mount": (165, 40), "setns": (308, 268), "ptrace": (101, 117), "keyctl": (250, 219),
    "bpf": (321, 280), "io_uring_setup": (425, 425), "userfaultfd": (323, 282), "perf_event_open": (298, 241),
    "socket": (41, 198), "socketpair": (53, 199), "process_vm_readv": (310, 270), "memfd_create": (319, 279),
    "pidfd_send_signal": (424, 424), "fchmodat": (268, 53), "truncate": (76, 45), "setsid": (112, 157),
    "shmget": (29, 194), "mknodat": (259, 33), "setuid": (105, 146), "rt_sigqueueinfo": (129, 138),
    "chroot": (161, 51), "pivot_root": (155, 41), "init_module": (175, 105), "reboot": (169, 142),
}


@pytest.fixture(params=make.ARCHITECTURES)
def arch(request):
    return request.param


def decide(arch, number, *arguments, audit=None):
    """Run the shipped program as the kernel would: "allow", "kill" or the name of the error."""
    data = struct.pack("<iIQ6Q", number if number < 2**31 else number - 2**32, audit or make.ARCHITECTURES[arch][1], 0,
                       *arguments, *[0] * (6 - len(arguments)))
    program = (make.FOLDER / f"seccomp_{arch}.bpf").read_bytes()
    steps = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    at, value = 0, 0
    while True:
        code, yes, no, k = steps[at]
        at += 1
        if code == make.LOAD:
            value = struct.unpack_from("<I", data, k)[0]
        elif code == make.AND:
            value &= k
        elif code == make.RETURN:
            return {make.KILL: KILL, make.ALLOW: ALLOW}.get(k) or errno.errorcode[k & 0xFFFF]
        else:
            at += yes if {make.EQUAL: value == k, make.AT_LEAST: value >= k, make.ABOVE: value > k}[code] else no


def call(arch, name, *arguments):
    """Decide on a call by its name."""
    tables = make.ALLOWED | make.REFUSED | make.ONLY_WITH | make.NOT_WITH | NEVER
    return decide(arch, tables[name][make.ARCHITECTURES[arch][0]], *arguments)


def test_the_shipped_bytes_are_what_the_script_makes():
    assert make.main(["--check"]) == 0


def test_the_check_sees_a_stale_file(monkeypatch, tmp_path):
    monkeypatch.setattr(make, "FOLDER", tmp_path)
    make.main([])
    (tmp_path / "seccomp_aarch64.bpf").write_bytes(b"")
    assert make.main(["--check"]) == "not what tools/make_seccomp.py makes: seccomp_aarch64.bpf"


def test_the_program_is_one_that_the_kernel_takes(arch):
    steps = len(make.program(arch)) // 8
    assert steps <= 4096                       # BPF_MAXINSNS
    for at, (code, yes, no, _) in enumerate(struct.iter_unpack("<HBBI", make.program(arch))):
        assert max(yes, no) + at + 1 < steps or code == make.RETURN


def test_every_number_is_answered_and_only_the_named_are_let_in(arch):
    place = make.ARCHITECTURES[arch][0]
    let_in = {number for number in range(make.LAST_KNOWN + 100) if decide(arch, number) == ALLOW}
    named = {numbers[place] for numbers in [*make.ALLOWED.values(), *make.NOT_WITH.values()]} - {None}
    # fcntl's command 0 is F_DUPFD, prlimit64's process 0 is oneself
    assert let_in == named | {make.ONLY_WITH[name][place] for name in ("fcntl", "prlimit64")}


def test_the_wrong_architecture_dies(arch):
    for audit in (0x40000003, 0xC00000B7 if arch == "x86_64" else 0xC000003E, 0x40000028):
        assert decide(arch, 0, audit=audit) == KILL


def test_x32_dies():
    assert [decide("x86_64", number) for number in (0x4000_0000, 0x4000_0000 + 39, 2**32 - 1)] == [KILL] * 3


@pytest.mark.parametrize("name", NEVER)
def test_never(arch, name):
    assert call(arch, name) == "EPERM"
    assert call(arch, name, 1, 1, 1) == "EPERM"


def test_no_new_processes_and_threads(arch):
    assert call(arch, "clone", 17) == call(arch, "clone", 0x1000_0000) == call(arch, "clone", 0x3D0F00) == "EAGAIN"
    assert call(arch, "clone3") == "ENOSYS"
    if arch == "x86_64":
        assert call(arch, "fork") == call(arch, "vfork") == "EAGAIN"


def test_signals_and_limits_for_itself_alone(arch):
    for name in ("kill", "tkill", "tgkill"):
        assert call(arch, name, make.OWN_PID, 9, 9) == ALLOW
        assert call(arch, name, 1, make.OWN_PID, 9) == call(arch, name, 2**32 - 1, 9) == call(arch, name, 0) == "EPERM"
    assert (call(arch, "prlimit64", 0), call(arch, "prlimit64", 1)) == (ALLOW, "EPERM")


def test_requests_by_argument(arch):
    assert call(arch, "ioctl", 0, 0x5401) == ALLOW
    for request in (0x5412, 0x541C, 0x5412 | 1 << 32, 0x8901):              # TIOCSTI, TIOCLINUX, FIOSETOWN
        assert call(arch, "ioctl", 0, request) == "ENOTTY"
    assert [call(arch, "fcntl", 0, command) for command in (1, 8, 10, 15, 1031)] == [ALLOW, *["EPERM"] * 4]
    assert [call(arch, "prctl", option) for option in (15, 1, 4, 22, 36, 38)] == [ALLOW, *["EPERM"] * 5]


def test_a_file_opened_for_reading_cannot_be_emptied(arch):
    read, write, create, cut, cloexec = 0, 1, 0o100, 0o1000, 0o2000000
    for flags, answer in ((read, ALLOW), (read | cloexec, ALLOW), (write | create | cut, ALLOW), (2 | cut, ALLOW),
                          (read | cut, "EPERM"), (read | cut | cloexec, "EPERM"), (3 | cut, "EPERM")):
        assert call(arch, "openat", 0, 0, flags) == answer
        if arch == "x86_64":
            assert call(arch, "open", 0, flags) == answer


def test_what_the_next_kernel_invents_is_not_there(arch):
    assert [decide(arch, number) for number in (make.LAST_KNOWN, make.LAST_KNOWN + 1, 5000)] == [
        "EPERM", "ENOSYS", "ENOSYS"]


def test_the_numbers_are_libseccomps():
    name = ctypes.util.find_library("seccomp")
    if name is None:
        pytest.skip("libseccomp, the oracle, is not installed")
    number_of = ctypes.CDLL(name).seccomp_syscall_resolve_name_arch
    for tables in (make.ALLOWED, make.REFUSED, make.ONLY_WITH, make.NOT_WITH, NEVER):
        for name, numbers in tables.items():
            for place, audit in make.ARCHITECTURES.values():
                known = number_of(ctypes.c_uint32(audit), name.encode())
                assert numbers[place] == (known if known >= 0 else None), (name, place)
