"""What travels between the judge and a student's process: it comes back as it was, or is refused."""
import json
import random
import struct

import numpy as np
import pytest

import minidl as md
from minidl.judge.frames import DATA, HEAD, MESSAGE, Broken, Other, TooLarge, packed, read
from tests.judging import received

MOST = 2**20
DTYPES = ("b1", "u1", "i2", "i8", "f2", "f4", "f8", ">f8", "c8", "c16")


def there_and_back(value):
    fields, values = received(b"".join(packed({"turn": "x"}, MOST, value=value)), MOST)
    assert fields == {"turn": "x"}
    return values["value"]


def same(a, b):
    """Whether two values are equal down to types, dtypes, shapes and bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b or a != a and b != b


def anything(rng, depth=0):
    """A random value of those that cases and answers are made of."""
    kind = rng.integers(0, 12 if depth < 3 else 8)
    if kind < 5:
        return [None, True, -7, 0.1, "aä\n\ud800\U0001f600"][kind]
    array = rng.integers(0, 2, size=rng.integers(0, 4, size=rng.integers(0, 4))).astype(rng.choice(DTYPES))
    if kind < 8:
        return array if array.ndim or kind == 5 else array[()]
    parts = [anything(rng, depth + 1) for _ in range(rng.integers(0, 4))]
    return [parts, tuple(parts), {f"k{k}": part for k, part in enumerate(parts)}, {(1, k): 2.5 for k in range(2)}][
        kind - 8]


def test_values_come_back_as_they_were():
    rng = np.random.default_rng(1)
    for _ in range(300):
        value = anything(rng)
        assert same(there_and_back(value), value), value


def test_odd_numbers_come_back():
    for value in (float("inf"), float("-inf"), float("nan"), -0.0, 2**200, -(2**63), 1e-320):
        assert same(there_and_back(value), value)
    assert np.signbit(there_and_back(-0.0))


def test_what_is_laid_out_differently_comes_back_in_order():
    x = np.arange(24.0).reshape(2, 3, 4)
    for view in (x.T, x[:, ::-1], x[..., ::2], np.asfortranarray(x[0]), np.broadcast_to(x[0, 0], (3, 4))):
        got = there_and_back(view)
        assert np.array_equal(got, view) and got.flags.writeable and got.flags.c_contiguous


def test_other_forms_of_numbers_become_arrays_and_lists():
    class Array(np.ndarray):
        pass

    assert type(there_and_back(np.ones(2).view(Array))) is np.ndarray
    assert same(there_and_back(md.tensor([1.0, 2.0], requires_grad=True) * 2), np.array([2, 4], dtype="f4"))
    assert there_and_back(range(3)) == there_and_back(map(int, "012")) == there_and_back(k for k in range(3))
    assert there_and_back(np.array([1, "a", None], dtype=object)) == [1, "a", None]


def test_what_is_no_number_is_named_and_equals_nothing():
    for value, name in ((object(), "object"), ({1}, "set"), (np.array("a"), "ndarray"), (len, "builtin_function"),
                        (np.str_("a"), "str_"), (b"a", "bytes"), (np.datetime64("2020-01-01"), "datetime64")):
        got = there_and_back(value)
        assert isinstance(got, Other) and got.name.startswith(name) and got != got


@pytest.mark.parametrize("value", [
    np.broadcast_to(0.0, 10**12), np.zeros(MOST // 8 + 1), "a" * (MOST + 1), [0.5] * (MOST // 8 + 1), range(10**12),
    [np.zeros(MOST // 20)] * 3, 10**2000, np.broadcast_to(np.array(None, dtype=object), 10**12)],
    ids=["view", "array", "text", "list", "range", "arrays", "digits", "objects"])
def test_too_much_is_found_before_it_is_copied(value):
    with pytest.raises(TooLarge):
        next(packed({}, MOST, value=value))


def test_too_deep_or_without_end_is_too_much():
    own = []
    own.append(own)
    deep = 0
    for _ in range(60):
        deep = [deep]
    for value in (own, deep):
        with pytest.raises(TooLarge):
            next(packed({}, MOST, value=value))


@pytest.mark.parametrize("value", [dict.fromkeys(range(2001), 0), {tuple(range(9)): 0}, {((1,),): 0}, {str: 0}],
                         ids=["many", "long", "nested", "class"])
def test_keys_are_few_and_short(value):
    """Keys can be chosen to have one hash, and then a dict of them takes time by the square."""
    with pytest.raises(TooLarge):
        next(packed({}, MOST, value=value))


# --- a reader believes nothing ----------------------------------------------------------------------------------------


def frame(tag, payload, length=None):
    return struct.pack("<4sQ", tag, len(payload) if length is None else length) + payload


def message(value, *payloads):
    return frame(MESSAGE, json.dumps({"values": {"value": value}}).encode()) + b"".join(
        frame(DATA, payload) for payload in payloads)


@pytest.mark.parametrize("data", [
    frame(DATA, b"x"), frame(b"mesg", b"{}"), frame(MESSAGE, b"", 2**63), frame(MESSAGE, b"", 2**32),
    frame(MESSAGE, b"not JSON"), frame(MESSAGE, b"[1]"), frame(MESSAGE, b"{}"), frame(MESSAGE, b'{"values": 3}'),
    frame(MESSAGE, b"[" * 100_000), frame(MESSAGE, b"\xff\xfe\x00"), frame(MESSAGE, b"9" * 100_000),
    message({"array": ["<f8", [2]]}, b"x" * 8), message({"array": ["<f8", [2]]}, b"x" * 17),
    message({"array": ["<f8", [10**9]]}), message({"array": ["<f8", [10**18, 10**18]]}),
    message({"array": ["<f8", [-1, -1]]}, b"x" * 8), message({"array": ["<f8", [True]]}, b"x" * 8),
    message({"array": ["<f8", [1.0]]}, b"x" * 8), message({"array": ["<f8", "2"]}, b"x" * 8),
    message({"array": ["<f8", [1] * 99]}, b"x" * 8), message({"array": ["|O8", [1]]}, b"x" * 8),
    message({"array": ["O", [1]]}, b"x" * 8), message({"array": ["<f8,<f8", [1]]}, b"x" * 16),
    message({"array": ["<M8[s]", [1]]}, b"x" * 8), message({"array": ["<f3", [1]]}, b"xxx"),
    message({"array": [["a", "<f8"], [1]]}, b"x" * 8), message({"array": ["<f8"]}), message({"array": None}),
    message({"scalar": ["<f8", [1]]}, b"x" * 8), message({"pickle": "x"}), message({}), message({"a": 1, "b": 2}),
    message({"tuple": 3}), message({"dict": [[1]]}), message({"dict": [[[1], 2]]}), message({"dict": {"a": 1}}),
    message(eval("[" * 60 + "]" * 60)), message([[]] * 300_000), message({"dict": [[k, 0] for k in range(2001)]}),
    message([{"dict": [[k, 0] for k in range(1001)]}] * 2), message({"dict": [[{"tuple": [1] * 9}, 0]]}),
    message({"dict": [[{"tuple": [{"tuple": [1]}]}, 0]]})],
    ids=range(42))
def test_bytes_that_are_no_message_are_refused(data):
    with pytest.raises(Broken):
        received(data, MOST)


def test_bytes_changed_at_random_are_a_message_or_are_refused():
    rng = random.Random(3)
    value = [(1, 2.5, "text"), {"a": np.arange(3.0), "b": np.float32(2)}, None, np.array([True, False])]
    good = b"".join(packed({"turn": "abc"}, MOST, value=value))
    refused = 0
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(data))
            data[place:place + rng.randint(0, 2)] = bytes(rng.randrange(256) for _ in range(rng.randint(0, 2)))
        try:
            received(data, MOST)
        except (Broken, EOFError):
            refused += 1
        except AssertionError:
            pass                                                       # bytes were left over: a frame too many
    assert refused > 1000


def test_a_truth_value_is_true_or_false_whatever_byte_came():
    got = received(message({"array": ["|b1", [3]]}, b"\x00\x01\x7f"))[1]["value"]
    assert got.tobytes() == b"\x00\x01\x01"


def test_room_is_made_only_for_what_is_allowed():
    asked = []

    def take(count):
        asked.append(count)
        return bytearray(frame(MESSAGE, b"", 2**40)[:count])

    with pytest.raises(Broken):
        read(take, MOST)
    assert asked == [HEAD.size]
