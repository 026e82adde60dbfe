"""Chapter 05, modules and init: parameters found once and in order, weights that keep a signal alive, and states.

A case describes a model; `MODELS` builds it of minidl's modules, and a seed fills its parameters with numbers.
"""
import numpy as np

from ... import nn
from ...tensor import Tensor
from ..cases import case
from ..compare import plain
from ..exercise import Exercise

TITLE = "Modules and init"

# --- models to look into ------------------------------------------------------------------------------------------


class Block(nn.Module):
    """Own parameters before, between and behind modules."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(Tensor(np.ones(3)))
        self.inner = nn.Linear(3, 2)
        self.shift = nn.Parameter(Tensor(np.ones(2)))


class Tied(nn.Module):
    """One layer under two names, and one tensor in two layers."""

    def __init__(self):
        super().__init__()
        self.into = nn.Linear(2, 2)
        self.out = nn.Linear(2, 2)
        self.again = self.into
        self.out.weight = self.into.weight


class Whole(nn.Module):
    """Modules in modules, and things that are none."""

    def __init__(self):
        super().__init__()
        self.name, self.sizes = "a model", [3, 2]
        self.block = Block()
        self.constant = Tensor(np.ones(4))
        self.head = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1))


LAYER = "Linear(2, 3)"
LAYERS = "Sequential(Linear(2, 3), Tanh(), Linear(3, 1, bias=False))"
BLOCK = "a Block: scale, inner = Linear(3, 2), shift"
TIED = "a Tied: into, out = Linear(2, 2), Linear(2, 2); again = into; out.weight = into.weight"
WHOLE = "a Whole: block = Block(), constant = a plain tensor, head = Sequential(Linear(2, 2), ReLU(), Linear(2, 1))"
NORM = "Sequential(Linear(2, 3), BatchNorm1d(3))"
MODELS = {
    LAYER: lambda: nn.Linear(2, 3),
    LAYERS: lambda: nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1, bias=False)),
    BLOCK: Block,
    TIED: Tied,
    WHOLE: Whole,
    NORM: lambda: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)),
}


def built(model, seed):
    """A model from its description, with random numbers in its parameters and buffers."""
    built, rng = MODELS[model](), np.random.default_rng(seed)
    for p in [*built.parameters(), *built.buffers()]:
        if p.dtype.kind == "f":
            p.array[...] = rng.normal(size=p.shape)
    return built


def _seed(rng):
    return int(rng.integers(10_000))


# --- 05.1: find every parameter -----------------------------------------------------------------------------------

found = Exercise(
    "05.1", "Every parameter, once", points=4, stars=2, minutes=20, honest=(), hints=(
        "The lesson's function has nearly everything. What must it remember, so that nothing comes twice?",
        "Two tensors with equal numbers are two parameters; one tensor under two names is one. So what you remember is "
        "who it was, which is a question for Python and not for NumPy.",
        "First the module's own parameters, then those of its children, each under its name and a dot. One memory "
        "serves the whole walk: hand it down, and do not begin a new one for each child."))


@found.reference
def all_parameters(module):
    return list(module.named_parameters())


@found.observe
def _(answer, model, seed):
    model = built(model, seed)
    pairs = list(answer(model))
    names = {id(tensor): name for name, tensor in model.named_parameters()}
    return [[path, names.get(id(p), "a tensor that is no parameter")] for path, p in pairs]


@found.cases
def _(rng):
    for model in (LAYER, LAYERS, BLOCK, TIED, WHOLE, NORM):
        yield case(model, _seed(rng))


def _children(module):
    return [(name, child) for name, child in vars(module).items() if isinstance(child, nn.Module)]


def _own(module):
    return [(name, p) for name, p in vars(module).items() if isinstance(p, nn.Parameter)]


def _every_path(module, prefix=""):
    pairs = [(prefix + name, p) for name, p in _own(module)]
    for name, child in _children(module):
        pairs += _every_path(child, f"{prefix}{name}.")
    return pairs


@found.mistake("What is shared was found once for each of its names. An optimiser would take its step several times.")
def _(module):
    return _every_path(module)


@found.mistake("Only the module's own parameters were found. Its children have some, too.")
def _(module):
    return _own(module)


@found.mistake("The names of the children are missing: `weight` says nothing about which of the layers it is in.")
def _(module):
    return [(path.split(".")[-1], p) for path, p in all_parameters(module)]


@found.mistake("Only children were looked into, and what lies right in a module with children was left out.")
def _(module):
    pairs = [(path, p) for path, p in all_parameters(module)]
    inner = {id(p) for m in module.modules() if _children(m) for _, p in _own(m)}
    return [(path, p) for path, p in pairs if id(p) not in inner]


@found.mistake("Children come before the module's own parameters. First its own, then theirs.")
def _(module):
    def walk(module, prefix, seen):
        pairs = []
        for name, child in _children(module):
            pairs += walk(child, f"{prefix}{name}.", seen)
        for name, p in _own(module):
            if id(p) not in seen:
                seen.add(id(p))
                pairs.append((prefix + name, p))
        return pairs
    return walk(module, "", set())


@found.mistake("There are tensors among these that nobody wants to learn. Only a `Parameter` does.")
def _(module):
    def walk(module, prefix, seen):
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and id(value) not in seen:
                seen.add(id(value))
                yield prefix + name, value
        for name, child in _children(module):
            yield from walk(child, f"{prefix}{name}.", seen)
    return list(walk(module, "", set()))


@found.mistake("The names begin with a dot. A dot stands between two names only.")
def _(module):
    return [("." + path, p) for path, p in all_parameters(module)]


@found.mistake("Modules that are shared were noticed, but not single tensors: a weight may sit in two layers.")
def _(module):
    def walk(module, prefix, seen):
        if id(module) in seen:
            return
        seen.add(id(module))
        yield from ((prefix + name, p) for name, p in _own(module))
        for name, child in _children(module):
            yield from walk(child, f"{prefix}{name}.", seen)
    return list(walk(module, "", set()))


@found.variant
def _(module):
    pairs = {}
    for path, p in reversed(_every_path(module)):
        pairs[id(p)] = (path, p)
    first = {id(p): path for path, p in reversed(_every_path(module))}
    return [(path, p) for path, p in _every_path(module) if first[id(p)] == path]


# --- 05.2a: fans --------------------------------------------------------------------------------------------------

fans = Exercise(
    "05.2a", "Fans", points=2, stars=1, minutes=10, hints=(
        "How many products are added up for one number of the output? How many outputs does one input take part in?",
        "In a matrix O I, one output sums over all I inputs. With a window, it sums over the window of every one of "
        "them, and every input is met by the window of every output.",
        "The sizes behind the first two axes are those of the window. Their product goes into both fans; for a plain "
        "matrix there is no window, and the product of no numbers is 1."))


@fans.reference
def fans_of(shape):
    O, I, *window = shape  # noqa: E741
    cells = int(np.prod(window))
    return I * cells, O * cells


@fans.cases
def _(rng):
    yield case((10, 64))
    yield case((5, 5))
    yield case((32, 3, 5, 5))
    yield case((8, 4, 3))
    for _ in range(4):
        yield case(tuple(int(n) for n in rng.integers(2, 9, size=int(rng.integers(2, 5)))))


@fans.mistake("The two have changed places. A weight is O I: the inputs are its second axis.")
def _(shape):
    return fans_of(shape)[::-1]


@fans.mistake("The window was left out. One output of a convolution sums over the window of every channel.")
def _(shape):
    return shape[1], shape[0]


@fans.mistake("The window counts for what comes in, but not for what goes out. An input is met by the whole window, "
              "too.")
def _(shape):
    return fans_of(shape)[0], shape[0]


@fans.mistake("The sizes of the window were added. A window of 5 by 5 has 25 places.")
def _(shape):
    cells = sum(shape[2:]) or 1
    return shape[1] * cells, shape[0] * cells


@fans.mistake("This counts all weights. One output sees only its own row of them.")
def _(shape):
    return int(np.prod(shape)), int(np.prod(shape))


@fans.variant
def _(shape):
    size = int(np.prod(shape))
    return [size // shape[0], size // shape[1]]


# --- 05.2b: weights that last -------------------------------------------------------------------------------------

lasting = Exercise(
    "05.2b", "Alive after thirty layers", points=4, stars=2, minutes=20, atol=0.6, hints=(
        "Which deviation must the weights have, so that the mean square of the output is that of the input? And what "
        "does relu take away?",
        "Numbers that are drawn evenly from -a to a have a mean square of a third of a². So how large is a, for the "
        "deviation that you want?",
        "a is √3 times the deviation, the deviation is the gain divided by the root of fan_in, and the gain is √2 for "
        "relu and 1 for nothing."))
RELU = {"relu": lambda x: np.maximum(x, 0), "linear": lambda x: x}


@lasting.reference
def draw_weight(rng, O, I, nonlinearity):  # noqa: E741
    gain = np.sqrt(2) if nonlinearity == "relu" else 1.0
    a = gain * np.sqrt(3 / I)
    return rng.uniform(-a, a, size=(O, I))


@lasting.observe
def _(answer, nonlinearity, seed):
    rng, f = np.random.default_rng(seed), RELU[nonlinearity]
    x, few = rng.normal(size=(256, 128)), rng.normal(size=(256, 20))
    for _ in range(30):
        x = f(x @ _weight(answer(rng, 128, 128, nonlinearity), (128, 128)).T)
    wide = f(few @ _weight(answer(rng, 1000, 20, nonlinearity), (1000, 20)).T)
    return {"powers of ten gained in 30 layers of 128": _powers(x), "gained in a layer from 20 to 1000": _powers(wide)}


def _weight(w, shape):
    w = np.asarray(plain(w), dtype=float)
    if w.shape != shape:
        raise ValueError(f"a weight of shape {shape} was asked for, and came as {w.shape}")
    return w


def _powers(x):
    return float(np.log10(np.sqrt((x * x).mean())))


@lasting.cases
def _(rng):
    yield case("linear", 1)
    yield case("relu", 2)
    for kind in ("linear", "relu"):
        yield case(kind, int(rng.integers(1000)))


def _evenly(rng, a, O, I):  # noqa: E741
    return rng.uniform(-a, a, size=(O, I))


@lasting.mistake("The signal fades: the bound of the draw is not its deviation. Numbers between -a and a are smaller "
                 "than a by √3, in the root mean square.")
def _(rng, O, I, nonlinearity):  # noqa: E741
    return _evenly(rng, (np.sqrt(2) if nonlinearity == "relu" else 1.0) / np.sqrt(I), O, I)


@lasting.mistake("With relu the signal fades: it takes half of the mean square each time, and nothing makes up for it.")
def _(rng, O, I, nonlinearity):  # noqa: E741
    return _evenly(rng, np.sqrt(3 / I), O, I)


@lasting.mistake("The gain was used without relu as well, and the signal explodes.")
def _(rng, O, I, nonlinearity):  # noqa: E741
    return _evenly(rng, np.sqrt(6 / I), O, I)


@lasting.mistake("Divided by the number of outputs: on the way forward, it is the inputs that are added up.")
def _(rng, O, I, nonlinearity):  # noqa: E741
    return _evenly(rng, np.sqrt((6 if nonlinearity == "relu" else 3) / O), O, I)


@lasting.mistake("All weights are positive. Their mean is not 0, so the outputs add up to ever more.")
def _(rng, O, I, nonlinearity):  # noqa: E741
    return rng.uniform(0, 2 * np.sqrt((6 if nonlinearity == "relu" else 3) / I), size=(O, I))


@lasting.mistake("The root is missing: this is the mean square of the weights, where their size was asked for.")
def _(rng, O, I, nonlinearity):  # noqa: E741
    return _evenly(rng, (6 if nonlinearity == "relu" else 3) / I, O, I)


@lasting.mistake("The weight is I O. minidl's are O I, one row for each output.")
def _(rng, O, I, nonlinearity):  # noqa: E741
    return draw_weight(rng, O, I, nonlinearity).T


@lasting.variant
def _(rng, O, I, nonlinearity):  # noqa: E741
    return rng.normal(size=(O, I)) * np.sqrt((2 if nonlinearity == "relu" else 1) / I)


@lasting.variant
def _(rng, O, I, nonlinearity):  # noqa: E741
    return (2 * rng.random((O, I)) - 1) * np.sqrt(6 / I) / (1 if nonlinearity == "relu" else np.sqrt(2))


# --- 05.3a: keep a state ------------------------------------------------------------------------------------------

keep = Exercise(
    "05.3a", "Keep a state", points=3, stars=1, minutes=10, honest=(), hints=(
        "minidl has nearly what you need. What happens to it when training goes on?",
        "Its tensors look into the model's own memory. Whatever you keep must have memory of its own.",
        "Go through all pairs of name and tensor, and clone each tensor."))


@keep.reference
def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@keep.observe
def _(answer, model, seed):
    model = built(model, seed)
    state = answer(model)
    at_once = {path: np.array(plain(value)) for path, value in state.items()}
    for p in [*model.parameters(), *model.buffers()]:
        p.array[...] = 0
    return {"at once": at_once, "after training went on": {path: np.array(plain(v)) for path, v in state.items()}}


@keep.cases
def _(rng):
    for model in (LAYER, LAYERS, NORM, BLOCK, TIED):
        yield case(model, _seed(rng))


@keep.mistake("The kept numbers went along with the model: they are its own memory, looked at by another name.")
def _(model):
    return model.state_dict()


@keep.mistake("Only parameters were kept. What a batch norm has measured is not learned, and belongs to the state all "
              "the same; so does a shared weight, under each of its names.")
def _(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@keep.mistake("The numbers were flattened: a state keeps shapes.")
def _(model):
    return {name: value.flatten().clone() for name, value in model.state_dict().items()}


@keep.mistake("The names lack the layers they are in, so equal names have covered each other.")
def _(model):
    return {name.split(".")[-1]: value.clone() for name, value in model.state_dict().items()}


@keep.mistake("This keeps the names and the shapes; the numbers are gone.")
def _(model):
    return {name: value * 0 for name, value in model.state_dict().items()}


@keep.variant
def _(model):
    return {name: np.array(value.numpy()) for name, value in model.state_dict().items()}


@keep.variant
def _(model):
    import copy
    return copy.deepcopy(model).state_dict()


# --- 05.3b: load a state ------------------------------------------------------------------------------------------

load = Exercise(
    "05.3b", "All or nothing", points=4, stars=2, minutes=20, honest=(), hints=(
        "What could be wrong with a state, before a single number is moved? Look at its names, then at its shapes.",
        "Check everything first, and write afterwards, in a second loop. Otherwise an error in the last weight leaves "
        "a model behind that is half old and half new.",
        "Write into the tensors that the model holds, in a block without recording; `copy_` does it. A new tensor of "
        "the same name would leave an optimiser with the old one."))


@load.reference
def load_state(model, state):
    own = model.state_dict()
    if own.keys() != state.keys():
        raise KeyError(f"the names differ: {sorted(own.keys() ^ state.keys())}")
    for name, value in state.items():
        if tuple(value.shape) != own[name].shape:
            raise ValueError(f"{name} has another shape")
    for name, value in state.items():
        own[name].copy_(value)


CHANGES = {
    "as it was": lambda state: state,
    "last name missing": lambda state: dict(list(state.items())[:-1]),
    "one name too many": lambda state: {**state, "stranger": np.ones(2)},
    "last one with another shape": lambda state: {**state, list(state)[-1]: np.ones((7, 7))},
    "last one a single number": lambda state: {**state, list(state)[-1]: np.ones(1)},
}


@load.observe
def _(answer, model, change, seed):
    other, model = built(model, seed + 1), built(model, seed)
    state = {path: np.array(v.numpy()) for path, v in other.state_dict().items()}
    state = {path: Tensor(np.array(v)) for path, v in CHANGES[change](state).items()}
    held, raised = list(model.parameters()), None
    try:
        answer(model, state)
    except (NotImplementedError, MemoryError):
        raise
    except Exception as error:
        raised = next((kind.__name__ for kind in (KeyError, ValueError) if isinstance(error, kind)),
                      type(error).__name__)
    now = {path: np.array(v.numpy()) for path, v in model.state_dict().items()}
    for value in state.values():
        value.array[...] = 99
    alone = all(np.array_equal(now[path], v.numpy()) for path, v in model.state_dict().items())
    same = all(any(p is q for q in held) for p in model.parameters())
    return {"raised": raised, "the model": now, "the same tensors as before": same, "memory of its own": alone}


@load.cases
def _(rng):
    for model, change in [(LAYER, "as it was"), (LAYERS, "as it was"), (LAYER, "last name missing"),
                          (LAYER, "one name too many"), (LAYERS, "last one with another shape"),
                          (LAYER, "last one a single number"), (BLOCK, "as it was")]:
        yield case(model, change, _seed(rng))


def _checked(model, state, names=True, shapes=True):
    own = model.state_dict()
    if names and own.keys() != state.keys():
        raise KeyError("names")
    if shapes and any(tuple(state[n].shape) != own[n].shape for n in state if n in own):
        raise ValueError("shapes")
    return own


def _module_of(model, path):
    *parents, name = path.split(".")
    for parent in parents:
        model = getattr(model, parent)
    return model, name


@load.mistake("The model has new tensors. An optimiser that holds the old ones would train nothing from now on.")
def _(model, state):
    _checked(model, state)
    for path, value in state.items():
        owner, name = _module_of(model, path)
        setattr(owner, name, nn.Parameter(value.clone()))


@load.mistake("The model looks into the memory of the state: whoever changes the one, changes the other. Copy the "
              "numbers.")
def _(model, state):
    _checked(model, state)
    for path, p in model.named_parameters():
        p.array = state[path].array


@load.mistake("Nothing was said about names that are missing.")
def _(model, state):
    if state.keys() - model.state_dict().keys():
        raise KeyError("names")
    own = _checked(model, state, names=False)
    for name, value in state.items():
        own[name].copy_(value)


@load.mistake("Nothing was said about a name that the model does not have.")
def _(model, state):
    if model.state_dict().keys() - state.keys():
        raise KeyError("names")
    own = _checked(model, state, names=False)
    for name, value in own.items():
        value.copy_(state[name])


@load.mistake("The error came too late: part of the model has the new numbers, the rest the old ones.")
def _(model, state):
    own = _checked(model, state, shapes=False)
    for name, value in state.items():
        if tuple(value.shape) != own[name].shape:
            raise ValueError("shapes")
        own[name].copy_(value)


@load.mistake("A single number was spread over a whole weight, by broadcasting. Another shape is an error.")
def _(model, state):
    own = _checked(model, state, shapes=False)
    if any(value.numel() not in (1, own[name].numel()) for name, value in state.items()):
        raise ValueError("shapes")
    for name, value in state.items():
        own[name].copy_(value)


@load.mistake("The model is as it was: nothing was loaded.")
def _(model, state):
    _checked(model, state)


@load.variant
def _(model, state):
    _checked(model, state)
    model.load_state_dict(state)


@load.variant
def _(model, state):
    own = model.state_dict()
    for name in {*own, *state}:
        if own[name].shape != state[name].shape:
            raise ValueError(name)
    for name in own:
        own[name].numpy()[...] = state[name].numpy()
