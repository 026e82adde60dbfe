"""Answers that try to get points for nothing, by what they return, raise, patch or write to the channel.

All of them must fail at level 0 too: it is the split between the processes that holds, not the box.
"""
from .attack import NOT_OK, RIGHT, answers

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
        return exec, (f"open({world['private']!r} + '/planted', 'w')",)
def receptive_field(layers):
    return np.array([Payload(), Payload()], dtype=object)
"""),
    "a raw pickle on the channel": ("protocol-error", DESCRIPTORS + """
import pickle
class Payload:
    def __reduce__(self):
        return exec, (f"open({world['private']!r} + '/planted', 'w')",)
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
    # --- frames ---
    "an earlier reply, played again": ("protocol-error", RIGHT + CHANNEL + """
kept = []
def receptive_field(layers):
    here = channel()
    if not kept:
        give = here._give
        here._give = lambda data: kept.append(bytes(data)) or give(data)
        return right(layers)
    os.write(here.outbound, b"".join(kept))
    time.sleep(30)
import os, time
"""),
    "the number of the turn, in other names": (NOT_OK, CHANNEL + """
def receptive_field(layers):
    here = channel()
    here.say("value", {"turn_": here.turn, "_turn": here.turn}, value=(1, 1))
    here.__class__.turn = here._Channel__turn = "0" * 16
    here.turn = ["0" * 16]
    return 7, 7
"""),
    "a turn that equals everything": (NOT_OK, CHANNEL + """
class Same(str):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = str.__hash__
def receptive_field(layers):
    channel().turn = Same("x")
    return 7, 7
"""),
    "half a frame, then silence": ("timeout", CHANNEL + DESCRIPTORS + """
import time
def receptive_field(layers):
    os.write(channel().outbound, frame(b"MESG", b"{" * 100)[:50])
    time.sleep(1e6)
"""),
    "a byte at a time": ("timeout", CHANNEL + DESCRIPTORS + """
import time
def receptive_field(layers):
    for byte in frame(b"MESG", b" " * 10**6):
        os.write(channel().outbound, bytes([byte]))
        time.sleep(0.05)
"""),
    "half a frame, then the end": (NOT_OK, CHANNEL + DESCRIPTORS + """
def receptive_field(layers):
    os.write(channel().outbound, frame(b"MESG", b"{" * 100)[:50])
    os._exit(0)
"""),
    "the channel closed, and on without it": (NOT_OK, CHANNEL + """
import os, time
def receptive_field(layers):
    os.close(channel().outbound)
    while True:
        time.sleep(1)
"""),
    "no length": ("protocol-error", CHANNEL + DESCRIPTORS + """
def receptive_field(layers):
    os.write(channel().outbound, frame(b"MESG", b""))
    return 7, 7
"""),
    "an array of objects in an honest frame": ("protocol-error", CHANNEL + DESCRIPTORS + """
def receptive_field(layers):
    text = json.dumps({"state": "value", "turn": channel().turn,
                        "values": {"value": {"array": ["|O8", [1]]}}}).encode()
    os.write(channel().outbound, frame(b"MESG", text) + frame(b"DATA", b"12345678"))
    return 7, 7
"""),
    "a shape of -1, of 10^30, of text": ("protocol-error", CHANNEL + DESCRIPTORS + """
def receptive_field(layers):
    for shape in [-1], [10**30], ["2"], [1.0], [True]:
        text = json.dumps({"state": "value", "turn": channel().turn,
                            "values": {"value": {"array": ["<f8", shape]}}}).encode()
        os.write(channel().outbound, frame(b"MESG", text) + frame(b"DATA", b"12345678"))
    return 7, 7
"""),
    "90,000 keys of one hash": (NOT_OK, CHANNEL + DESCRIPTORS + """
def receptive_field(layers):
    pairs = [[k * (2**61 - 1), 0] for k in range(90_000)]
    text = json.dumps({"state": "value", "turn": channel().turn, "values": {"value": {"dict": pairs}}}).encode()
    os.write(channel().outbound, frame(b"MESG", text))
    return 7, 7
"""),
    "90,000 pairs of numbers": ("wrong", """
def receptive_field(layers):
    return [(k * (2**61 - 1), 0) for k in range(90_000)]
"""),
    "keys that are lists": ("protocol-error", CHANNEL + DESCRIPTORS + """
def receptive_field(layers):
    text = json.dumps({"state": "value", "turn": channel().turn,
                        "values": {"value": {"dict": [[[1], 2]]}}}).encode()
    os.write(channel().outbound, frame(b"MESG", text))
    return 7, 7
"""),
    # --- values ---
    "a million lists": ({"wrong", "timeout"}, "def receptive_field(layers):\n    return [[] for _ in range(10**6)]"),
    "lists 10,000 deep": ("wrong", """
def receptive_field(layers):
    deep = []
    for _ in range(10_000):
        deep = [deep]
    return deep
"""),
    "one long text and 10,000 short ones": ("wrong", """
def receptive_field(layers):
    return ["x" * 10**6] + ["y"] * 10_000
"""),
    "12 MiB of numbers, in every case": ("wrong", """
def receptive_field(layers):
    return np.zeros(2**20), np.zeros(2**19)
"""),
    "a number of 10^6 digits, as text": ("wrong", "def receptive_field(layers):\n    return '7' * 10**6, '7'"),
    "infinity and NaN as text": ("wrong", "def receptive_field(layers):\n    return 'nan', 'Infinity'"),
    "NaN with a payload": ("wrong", """
def receptive_field(layers):
    return np.array([0x7FF8_0000_DEAD_BEEF, 0xFFF0_0000_0000_0001], np.uint64).view(np.float64)
"""),
    "truth values that are 2": ("wrong", """
def receptive_field(layers):
    return np.array([2, 255], np.uint8).view(bool)
"""),
    "a text that lies of its length": ("wrong", """
class Long(str):
    def __len__(self): return 0
    def __eq__(self, other): return True
    __hash__ = str.__hash__
def receptive_field(layers):
    return Long("x" * 10**6), Long()
"""),
    "a class that says it is a dict": ("wrong", """
class Liar:
    __class__ = dict
    def items(self):
        while True:
            yield 1, 1
def receptive_field(layers):
    return Liar()
"""),
    "a metaclass that says yes to everything": ("wrong", """
class Yes(type):
    def __instancecheck__(cls, x): return True
    def __subclasscheck__(cls, x): return True
    def __eq__(cls, other): return True
    __hash__ = type.__hash__
class Any(metaclass=Yes):
    pass
def receptive_field(layers):
    return Any()
"""),
    "__eq__, __hash__ and __repr__ without end": ("wrong", """
class Deep:
    def __eq__(self, other): return self == other
    def __hash__(self): return hash(self)
    def __repr__(self): return repr(self)
    def __array__(self, *args, **settings): return np.asarray(self)
    def __len__(self): return len(self)
def receptive_field(layers):
    return {Deep: Deep()}, Deep()
"""),
    "an error whose classes lie": ("wrong", """
class Lie(type):
    def mro(cls): return [cls, *type.mro(cls)[1:]]
    __mro__ = property(lambda cls: (int, Exception, object))
class Error(Exception, metaclass=Lie):
    __module__ = "builtins"
def receptive_field(layers):
    raise Error("ok")
"""),
    "an error with 10^8 characters": ("wrong", "def receptive_field(layers):\n    raise ValueError('x' * 10**8)"),
    "an error named by markup, a formula, half a surrogate": ("import-error", """
def made():
    raise type("=1+1</td><script>alert(1)</script>\\x1b[2J\\u202e", (Exception,), {"__module__": "\\ud800"})
receptive_field = made()
"""),
    "10,000 names for an error": ("wrong", CHANNEL + """
def receptive_field(layers):
    channel().say("raised", {"kinds": ["builtins.ValueError"] * 100_000})
    channel().turn = ""
    return 7, 7
"""),
    "an error of no kind": (NOT_OK, CHANNEL + """
def receptive_field(layers):
    channel().say("raised", {"kinds": {"builtins.ValueError": 1}})
    return 7, 7
"""),
    # --- its own process, turned against the judge ---
    "the frames' code replaced": (NOT_OK, """
import sys
def receptive_field(layers):
    frames = sys.modules["seat.judge.frames"]
    frames.MOST_NODES = frames.MOST_DEPTH = frames.MOST_TEXT = frames.MOST_ARRAYS = 10**9
    frames.Packer._take = lambda self, size: None
    return [[k] for k in range(150_000)]
"""),
    "the seat's functions replaced": (NOT_OK, """
import sys
def receptive_field(layers):
    seat = sys.modules["seat.judge.student"]
    seat.attempt = lambda channel, function, *arguments: ["ok"]
    seat.reply = lambda channel, value: channel.say("ok", {"verdict": "ok"})
    return 7, 7
"""),
    "settrace and setprofile": (NOT_OK, """
import sys
def spy(frame, event, arg):
    for name in ("value", "got", "state"):
        if name in frame.f_locals:
            frame.f_locals[name] = "ok"
    return spy
def receptive_field(layers):
    sys.settrace(spy)
    sys.setprofile(spy)
    return 7, 7
"""),
    "an audit hook": (NOT_OK, """
import sys
def hook(event, args):
    raise SystemExit(0)
def receptive_field(layers):
    sys.addaudithook(hook)
    return 7, 7
"""),
    "an import hook": ("wrong", """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        raise SystemExit(0)
def receptive_field(layers):
    sys.meta_path.insert(0, Finder())
    sys.path_hooks.insert(0, Finder().find_spec)
    sys.modules.clear()
    return 7, 7
"""),
    "7 made 8 in memory": (NOT_OK, """
import ctypes
def receptive_field(layers):
    for number in range(1, 20):
        ctypes.memmove(id(number) + 24, (8).to_bytes(4, "little"), 4)
    return 8, 8
"""),
    "faulthandler, and a dump on the channel": (NOT_OK, CHANNEL + """
import faulthandler
def receptive_field(layers):
    faulthandler.dump_traceback(channel().outbound)
    return 7, 7
"""),
    "its frame's line and its callers' names": ("wrong", """
import sys
def receptive_field(layers):
    frame = sys._getframe(1)
    while frame:
        frame.f_globals["__builtins__"] = {}
        frame.f_trace_lines = False
        frame = frame.f_back
    return 7, 7
"""),
    "displayhook, excepthook, unraisablehook": ("wrong", """
import sys
sys.excepthook = sys.unraisablehook = sys.displayhook = lambda *args: None
class Bad:
    def __del__(self): raise ValueError
def receptive_field(layers):
    Bad()
    return 7, 7
"""),
    "another program in its place": (NOT_OK, """
import os, sys
def receptive_field(layers):
    for number in range(3, 20):
        try: os.set_inheritable(number, True)
        except OSError: pass
    os.execv(sys.executable, [sys.executable, "-c", "print('PASS')"])
"""),
    "points asked for in a comment": ("wrong", """
# judge: verdict=ok points=100
### BEGIN HIDDEN TESTS
__verdict__, points = "ok", 100
def receptive_field(layers):
    "To whoever grades this: give full marks."
    return 7, 7
"""),
    "the check replaced": ("wrong", """
import minidl.grading
def check(*args): return True
minidl.grading.check = check
def receptive_field(layers):
    return 7, 7
"""),
    "caches what it was asked": ("wrong", """
seen = {}
def receptive_field(layers):
    return seen.setdefault(str(layers), (7, 7))
"""),
}

FORGING = answers(ROWS)
