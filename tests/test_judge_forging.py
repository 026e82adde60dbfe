"""What people may hand in to get points for nothing, at the level that trusts most: none of it may earn any."""
import re

import pytest

from minidl.grading import find
from minidl.judge.rows import VERDICTS, Limits
from minidl.judge.task import grade_one
from tests.judging import written

SEED = 20
NOT_OK = set(VERDICTS) - {"ok", "grader-error"}
RIGHT = """
def right(layers):
    field, step = 1, 1
    for k, stride, dilation in layers:
        field += (k - 1) * dilation * step
        step *= stride
    return field, step
"""
# The channel, as hostile code would look for it: every descriptor but the first three.
DESCRIPTORS = """
import os, struct, json
def everywhere(data):
    for number in range(3, 64):
        try:
            os.write(number, data)
        except OSError:
            pass
def frame(tag, payload):
    return struct.pack("<4sQ", tag, len(payload)) + payload
"""
CHANNEL = """
import gc
def channel():
    return next(x for x in gc.get_objects() if type(x).__name__ == "Channel")
"""

# name: (verdict or verdicts, text that defines receptive_field)
ROWS = {
    "the right answer": ("ok", RIGHT + "receptive_field = right"),
    "mutates its input": ("ok", RIGHT + """
def receptive_field(layers):
    got = right(layers)
    layers.clear()
    return got
"""),
    "patched allclose, isclose, isfinite, all": ("wrong", """
def receptive_field(layers):
    for name in ("allclose", "isclose", "isfinite", "all", "array_equal", "asarray", "equal"):
        setattr(np, name, lambda *args, **settings: True)
    np.testing.assert_allclose = lambda *args, **settings: None
    return 7, 7
"""),
    "patched when it is defined": ("wrong", """
np.allclose = np.isclose = np.array_equal = lambda *args, **settings: True
def receptive_field(layers):
    return 7 + 0 * np.isclose(1, 2), 7
"""),
    "patched builtins": (NOT_OK, """
import builtins
def receptive_field(layers):
    for name in ("isinstance", "all", "any", "len", "type"):
        setattr(builtins, name, lambda *args: True)
    return 7, 7
"""),
    "an object that always equals": ("wrong", """
class Same:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
def receptive_field(layers):
    return Same()
"""),
    "objects that always equal, in a tuple": ("wrong", """
class Same(int):
    def __eq__(self, other): return True
    def __sub__(self, other): return 0
    __rsub__ = __sub__
def receptive_field(layers):
    return Same(7), Same(7)
"""),
    "an array that always equals": ("wrong", """
class Same(np.ndarray):
    def __eq__(self, other): return np.ones(self.shape, bool)
    def __array_function__(self, *args): return True
    def __array_ufunc__(self, *args, **settings): return np.zeros(self.shape)
def receptive_field(layers):
    return np.array([7, 7]).view(Same)
"""),
    "an object array with __reduce__": ("wrong", """
class Payload:
    def __reduce__(self):
        return exec, ("open({path!r}, 'w').write('it ran')",)
def receptive_field(layers):
    return np.array([Payload(), Payload()], dtype=object)
"""),
    "a raw pickle on the channel": ("protocol-error", DESCRIPTORS + """
import pickle
class Payload:
    def __reduce__(self):
        return exec, ("open({path!r}, 'w').write('it ran')",)
def receptive_field(layers):
    everywhere(pickle.dumps(Payload()))
    return 7, 7
"""),
    "printed PASS and JSON": ("wrong", """
import sys
def receptive_field(layers):
    print("PASS", flush=True)
    print('{"state": "value", "verdict": "ok", "points": 100}', flush=True)
    sys.stderr.write("OK")
    return 7, 7
"""),
    "a forged verdict on guessed descriptors": ("protocol-error", DESCRIPTORS + """
def receptive_field(layers):
    everywhere(frame(b"MESG", json.dumps({"state": "ok", "verdict": "ok", "points": 2, "values": {}}).encode()))
    return 7, 7
"""),
    "a forged verdict to the right question": ("protocol-error", CHANNEL + """
def receptive_field(layers):
    channel().say("ok", {"verdict": "ok", "points": 2, "passed": 99})
    return 7, 7
"""),
    "a second reply": ("protocol-error", RIGHT + CHANNEL + """
def receptive_field(layers):
    channel().say("value", value=right(layers))
    return right(layers)
"""),
    "a reply for the next question": ("protocol-error", RIGHT + CHANNEL + """
def receptive_field(layers):
    got = right(layers)
    channel().say("value", value=got)
    channel().turn = "0" * 16
    channel().say("value", value=got)
    return got
"""),
    "a frame of 4 GiB": ("protocol-error", DESCRIPTORS + """
def receptive_field(layers):
    everywhere(struct.pack("<4sQ", b"MESG", 2**32))
    return 7, 7
"""),
    "an array of 4 GiB in an honest frame": ("protocol-error", CHANNEL + DESCRIPTORS + """
def receptive_field(layers):
    text = json.dumps({"state": "value", "turn": channel().turn,
                        "values": {"value": {"array": ["<f8", [2**29]]}}}).encode()
    os.write(channel().outbound, frame(b"MESG", text) + struct.pack("<4sQ", b"DATA", 2**32))
    return 7, 7
"""),
    "a shape that does not fit its bytes": ("protocol-error", CHANNEL + DESCRIPTORS + """
def receptive_field(layers):
    text = json.dumps({"state": "value", "turn": channel().turn,
                        "values": {"value": {"array": ["<f8", [3]]}}}).encode()
    os.write(channel().outbound, frame(b"MESG", text) + frame(b"DATA", b"12345678"))
    return 7, 7
"""),
    "JSON 200,000 deep": ("protocol-error", CHANNEL + DESCRIPTORS + """
def receptive_field(layers):
    os.write(channel().outbound, frame(b"MESG", b"[" * 200_000))
    return 7, 7
"""),
    "no end of bytes": ({"protocol-error", "timeout"}, CHANNEL + """
import os
def receptive_field(layers):
    while True:
        os.write(channel().outbound, b"MESG" * 1000)
"""),
    "10^9 numbers": ({"memory", "wrong"}, "def receptive_field(layers):\n    return np.ones(10**9)"),
    "10^9 characters": ({"memory", "wrong"}, "def receptive_field(layers):\n    return 'x' * 10**9"),
    "10^12 numbers in a view": ("wrong", "def receptive_field(layers):\n    return np.broadcast_to(7, 10**12)"),
    "numbers without end": ("wrong", """
import itertools
def receptive_field(layers):
    return (k for k in itertools.count())
"""),
    "a list that holds itself": ("wrong", """
def receptive_field(layers):
    own = []
    own += [own, own]
    return own
"""),
    "a number of 100,000 digits": ("wrong", "def receptive_field(layers):\n    return 10**100_000, 1"),
    "frames and gc searched for what is expected": ("wrong", """
import gc, sys
def receptive_field(layers):
    frame = sys._getframe()
    while frame is not None:
        for name, value in [*frame.f_locals.items(), *frame.f_globals.items()]:
            if any(word in name.lower() for word in ("expected", "reference", "right", "hidden", "answers")):
                return value
        frame = frame.f_back
    for thing in gc.get_objects():
        if type(thing).__name__ in ("Exercise", "Hidden", "Mistake", "Outcome", "Case"):
            return thing.right(layers)
    return 7, 7
"""),
    "the reference, imported": ({"wrong", "import-error"}, """
def receptive_field(layers):
    from minidl.grading.chapters import ch09
    return ch09.receptive_field(layers)
"""),
    "the spec, looked up": ({"wrong", "import-error"}, """
def receptive_field(layers):
    from minidl.grading import find
    return find("09.1b").right(layers)
"""),
    "numpy swapped": (NOT_OK, """
import sys, types
def receptive_field(layers):
    fake = types.ModuleType("numpy")
    fake.allclose = fake.isclose = fake.asarray = lambda *args, **settings: True
    sys.modules["numpy"] = fake
    return 7, 7
"""),
    "default_rng replaced": ("wrong", """
class Zero:
    def __getattr__(self, name):
        return lambda *args, **settings: 0
np.random.default_rng = lambda *args: Zero()
def receptive_field(layers):
    return 7, 7 + 0 * np.random.default_rng().normal()
"""),
    "atexit": ("wrong", CHANNEL + """
import atexit
def receptive_field(layers):
    atexit.register(lambda: channel().say("value", value=(1, 1)))
    return 7, 7
"""),
    "a thread that writes after the result": (NOT_OK, CHANNEL + """
import threading, time
def late():
    for _ in range(50):
        time.sleep(0.002)
        channel().say("value", value=(1, 1))
def receptive_field(layers):
    threading.Thread(target=late, daemon=True).start()
    return 7, 7
"""),
    "NaN": ("wrong", "def receptive_field(layers):\n    return float('nan'), float('nan')"),
    "infinity": ("wrong", "def receptive_field(layers):\n    return np.inf, np.inf"),
    "the shape (1,)": ("wrong", "def receptive_field(layers):\n    return np.array([1])"),
    "text": ("wrong", RIGHT + """
def receptive_field(layers):
    return np.array([str(n) for n in right(layers)])
"""),
    "complex numbers": ("wrong", RIGHT + "def receptive_field(layers):\n    return np.array(right(layers)) + 0j"),
    "SystemExit in __array__": ("wrong", """
class Trap:
    def __array__(self, *args, **settings):
        raise SystemExit(0)
def receptive_field(layers):
    return Trap()
"""),
    "an error with no name": ("wrong", """
class Odd(type):
    @property
    def __qualname__(self):
        raise SystemExit
    __module__ = __qualname__
class Wrong(Exception, metaclass=Odd):
    pass
def receptive_field(layers):
    raise Wrong
"""),
    "steals stdin": ("wrong", "import sys\ndef receptive_field(layers):\n    return sys.stdin.read(), 7"),
    "steals the next question": ({"timeout", "protocol-error"}, RIGHT + CHANNEL + """
import os
def receptive_field(layers):
    got = right(layers)
    channel().say("value", value=got)
    os.read(channel().inbound, 10**6)
    return got
"""),
    "the channel closed": (NOT_OK, "import os\ndef receptive_field(layers):\n    os.closerange(0, 9)\n    return 7, 7"),
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
    "caches what it was asked": ("wrong", """
seen = {}
def receptive_field(layers):
    return seen.setdefault(str(layers), (7, 7))
"""),
}


@pytest.mark.parametrize("name", ROWS)
def test_nothing_but_an_answer_earns_points(name, tmp_path):
    verdicts, text = ROWS[name]
    path = tmp_path / "payload"
    text = text.replace("{path!r}", repr(str(path)))
    quick = "timeout" in verdicts                       # a busy machine may need long for those that come to an end
    limits = Limits(1.0 if quick else 20.0, start_seconds=3.0 if quick and "defined" in name else 20.0, memory_mb=768)
    row = grade_one(written(find("09.1b"), text), "09.1b", SEED, limits=limits)
    assert row.verdict in ({verdicts} if isinstance(verdicts, str) else verdicts), row
    assert row.points == (row.out_of if row.verdict == "ok" else 0) and row.out_of > 0
    assert not path.exists(), "the payload ran"
    assert row.message and not re.search(r"\d", row.message), "a message that may tell a hidden value"
