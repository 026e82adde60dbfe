"""What a function reads besides its arguments: the Python values around it that a graph relies on.

    rate = 0.1                                   a global
    def make(scale, model):                      cells of a closure
        def f(x, power=2):                       a default
            return model(x) * scale**power + rate, model.alpha      an attribute

A graph is recorded with the values of that moment. `Surroundings` keeps them, and tells when one is another. It looks
at the names that the code of the function reads, and at the functions and methods that are called from there, as long
as they are the user's own. Numbers, texts, truth values, None and tuples of these are compared; of all other things
only whether they are the same thing. What a list or a dict holds is not looked at.
"""
import dis
import functools
import types

from ..tensor import Tensor

MISSING = object()
PLAIN = (bool, int, float, complex, str, bytes, type(None))
OURS = __name__.partition(".")[0]
DEPTH = 8                                # calls of calls that are followed


def is_plain(value):
    """Whether a value is a number, a text, None or a tuple of such."""
    return all(map(is_plain, value)) if type(value) is tuple else type(value) in PLAIN


def is_same(old, new):
    """Whether a graph that was recorded with one value holds for the other."""
    return old is new or (is_plain(old) and type(old) is type(new) and repr(old) == repr(new))


class Place:
    """Where a value is read: under a name in a dict, or in something that can be asked like one.

    Attributes:
        value: what stood there when it was first looked at.
        text: how a person would name the place.
    """

    __slots__ = ("get", "name", "text", "value")

    def __init__(self, get, name, text):
        self.get, self.name, self.text = get, name, text
        self.value = self.now()

    def now(self):
        """What stands there now."""
        return self.get(self.name, MISSING)


def reader(holder):
    """`get(name, default)` for a dict, for the cell of a closure and for the attributes of anything else."""
    if isinstance(holder, dict):
        return holder.get
    return functools.partial(_in_cell if isinstance(holder, types.CellType) else getattr, holder)


def _in_cell(cell, name, default):
    try:
        return cell.cell_contents
    except ValueError:                                 # an empty cell
        return default


class Surroundings:
    """The values that a function reads from around it, as they were when this was made.

    Attributes:
        places: a Place for each, by (id of what holds it, name).
    """

    def __init__(self, fn):
        self.places, self.seen = {}, set()
        self._object(fn, getattr(fn, "__name__", "the function"), (), 0)

    def add_module(self, module):
        """The attributes that a module's `forward` reads, for a module that is called in the function."""
        self._object(module, type(module).__name__, (), 0)

    def changed(self):
        """What is another value now; "" if nothing is."""
        for get, name, value, place in self.checks:
            if get(name, MISSING) is not value and not is_same(value, place.now()):
                return f"{place.text} is {_shown(place.now())} now, not {_shown(value)}"
        return ""

    @functools.cached_property
    def checks(self):
        """The places as tuples, for a quick look; made when all are known."""
        return [(p.get, p.name, p.value, p) for p in self.places.values()]

    # ------------------------------------------------------------------ the walk
    def _object(self, x, text, names, depth):
        """Look at something that is read: into functions, and at those attributes that the code around it names."""
        if isinstance(x, functools.partial):
            return self._object(x.func, text, names, depth)
        if isinstance(x, types.MethodType):
            self._object(x.__self__, type(x.__self__).__name__, x.__func__.__code__.co_names
                         if isinstance(x.__func__, types.FunctionType) else (), depth)
            return self._object(x.__func__, text, (), depth)
        if isinstance(x, types.FunctionType):
            return self._function(x, depth)
        if isinstance(x, (Tensor, *PLAIN)) or depth > DEPTH or not hasattr(x, "__dict__"):
            return None
        own = (x if isinstance(x, type) else type(x)).__module__.partition(".")[0]
        if isinstance(x, types.ModuleType):
            own = x.__name__.partition(".")[0]
        if isinstance(x, type) and own in (OURS, "builtins"):
            return None
        forward = getattr(type(x), "forward", None) or vars(type(x)).get("__call__")
        if isinstance(forward, types.FunctionType) and not isinstance(x, types.ModuleType):
            names = (*names, *_names(forward.__code__))
            if own != OURS:
                self._function(forward, depth + 1)
        if own not in (OURS, "numpy") or not isinstance(x, types.ModuleType):
            self._attributes(x, text, names, depth)
        return None

    def _attributes(self, x, text, names, depth):
        for name in dict.fromkeys(names):
            if name in vars(x) and name != "training":
                self._place(vars(x) if isinstance(vars(x), dict) else x, name, f"{text}.{name}", names, depth)
            method = getattr(type(x), name, MISSING)
            if name not in vars(x) and method is not MISSING and not hasattr(method, "__get__"):
                self._place(x, name, f"{text}.{name}", names, depth)           # of the class, by now
            if isinstance(method, types.FunctionType) and (id(x), name) not in self.seen:
                self.seen.add((id(x), name))
                if method.__module__.partition(".")[0] != OURS:
                    self._function(method, depth + 1)
                self._attributes(x, text, _names(method.__code__), depth + 1)

    def _function(self, fn, depth):
        if id(fn) in self.seen or fn.__module__ is None or depth > DEPTH:
            return
        self.seen.add(id(fn))
        names = _names(fn.__code__)
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or ()):
            self._place(cell, name, name, names, depth)
        for name in _globals(fn.__code__):
            if name in fn.__globals__:
                self._place(fn.__globals__, name, name, names, depth)
        for name in fn.__kwdefaults__ or ():
            self._place(fn.__kwdefaults__, name, f"the default of {name}", (), depth)
        self._place(fn, "__defaults__", f"what {fn.__name__} has as defaults", (), depth)

    def _place(self, holder, name, text, names, depth):
        key = id(holder), name
        if key not in self.places:
            self.places[key] = place = Place(reader(holder), name, text)
            value = place.value
            if isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] == OURS:
                del self.places[key]                   # minidl itself stays what it is
            elif not (isinstance(value, types.FunctionType) and value.__module__.partition(".")[0] in (OURS, "numpy")):
                self._object(value, text, names, depth + 1)


def _codes(code):
    """A code object and those of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _globals(code):
    """The names of the globals that a function reads."""
    return dict.fromkeys(i.argval for c in _codes(code) for i in dis.get_instructions(c)
                         if i.opname in ("LOAD_GLOBAL", "LOAD_NAME"))


def _names(code):
    """All names that a function reads, those of attributes too."""
    return tuple(dict.fromkeys(name for c in _codes(code) for name in c.co_names))


def _shown(value):
    return repr(value) if is_plain(value) else "missing" if value is MISSING else f"another {type(value).__name__}"
