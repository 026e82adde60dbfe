"""Chapter 02, two kinds of graph: an order for any graph, a run that does what it must, loops without Python's help.

Graphs are plain dicts here, so that nothing of the lesson's classes is needed; only 02.3b uses minidl's own graph.
"""
from collections import Counter

import numpy as np

from ...functions import where
from ...graph.session import Builder, Session, placeholder
from ..cases import case
from ..exercise import Exercise

TITLE = "Two kinds of graph"
DEEP = 50_000

# --- 02.1: an order for any graph -------------------------------------------------------------------------------------

sort = Exercise(
    "02.1", "Inputs first", points=4, stars=3, minutes=25, honest=("tuple",), hints=(
        "Which nodes can come first? Those that wait for nothing. And when one of them is done, for which nodes has "
        "the waiting become shorter?",
        "Keep for each node how many inputs it still waits for, and a list of those that wait for none. Take one from "
        "the list, write it down, and tell the nodes that use it. You need to know who uses whom: turn the dict round "
        "once, before you begin.",
        "An input that is named twice is waited for twice, so count it twice on both sides. If the list runs empty "
        "before all nodes are written down, the rest wait for each other: that is the cycle."))


def graph_of(graph):
    """The graph of a case; a text stands for a long chain, which would be too long to show."""
    if isinstance(graph, str):
        n = int(graph.split()[-2])
        return {f"h{k}": [f"h{k - 1}", f"h{k - 1}"] if k else [] for k in reversed(range(n))}
    return graph


@sort.reference
def topological_order(graph):
    waits = {name: len(inputs) for name, inputs in graph.items()}
    users = {name: [] for name in graph}
    for name, inputs in graph.items():
        for i in inputs:
            users[i].append(name)
    order = [name for name in graph if waits[name] == 0]
    for name in order:
        for user in users[name]:
            waits[user] -= 1
            if waits[user] == 0:
                order.append(user)
    if len(order) < len(graph):
        raise ValueError("a cycle")
    return order


@sort.observe
def _(answer, graph):
    return answer(graph_of(graph))


@sort.accept
def _(got, expected, graph):
    graph = graph_of(graph)
    if not isinstance(got, list) or not all(isinstance(name, str) for name in got):
        return "expected a list of the nodes' names"
    if len(got) != len(set(got)):
        return f"{Counter(got).most_common(1)[0][0]!r} stands in it more than once"
    if set(got) != set(graph):
        odd = sorted(set(got) ^ set(graph))[0]
        return f"{odd!r} is {'missing' if odd in graph else 'no node of the graph'}"
    place = {name: k for k, name in enumerate(got)}
    for name in got:
        for i in graph[name]:
            if place[i] > place[name]:
                return f"{name!r} stands before its input {i!r}"
    return None


def drawn_graph(rng, n=9):
    """A random graph without cycles, its nodes in no order."""
    names = [f"n{k}" for k in rng.permutation(n)]
    made = {name: [names[int(i)] for i in rng.integers(0, k, size=rng.integers(0, 3))] if k else []
            for k, name in enumerate(names)}
    return {names[int(k)]: made[names[int(k)]] for k in rng.permutation(n)}


@sort.cases
def _(rng):
    yield case({"out": ["h", "b"], "h": ["w", "x"], "w": [], "x": [], "b": []})
    yield case({"out": ["h", "x"], "h": ["x", "x"], "x": []})
    yield case({"L": ["out", "x"], "out": ["h", "w"], "h": ["x", "w"], "x": [], "w": []})
    yield case({"L": ["a", "b"], "a": ["x"], "b": ["c"], "c": ["a"], "x": []})
    yield case({"x": [], "alone": [], "y": ["x"]})
    yield case({})
    yield case({"a": ["b"], "b": ["a"], "x": []})
    yield case({"h": ["x", "h"], "x": []})
    yield case({"out": ["a"], "a": ["c", "x"], "b": ["a"], "c": ["b"], "x": []})
    for _ in range(4):
        yield case(drawn_graph(rng))
    yield case(f"a chain of {DEEP} doublings")


def _walk(graph, root, found):
    for i in graph[root]:
        _walk(graph, i, found)
    found.append(root)


@sort.mistake("This calls itself once for each step of depth, and Python allows about a thousand. A deep graph needs a "
              "list of what is still to be done, in place of the calls.")
def _(graph):
    order, doing = [], set()

    def visit(name):
        if name in doing:
            raise ValueError("cycle")
        if name not in order:
            doing.add(name)
            for i in graph[name]:
                visit(i)
            doing.discard(name)
            order.append(name)
    if len(graph) == DEEP:
        visit(next(iter(graph)))
    for name in graph:
        visit(name)
    return order


@sort.mistake("The other way round: what uses a node stands before it. An input must stand before its users.")
def _(graph):
    return topological_order(graph)[::-1]


@sort.mistake("This is the order in which the graph was written. Nobody promised that inputs were written first.")
def _(graph):
    topological_order(graph)
    return list(graph)


@sort.mistake("Nodes at the same distance from the end are taken together, the nearest at the end. On an uneven "
              "diamond that is wrong: a node may be near on one way and far on the other.")
def _(graph):
    topological_order(graph)
    used = {i for inputs in graph.values() for i in inputs}
    found = [name for name in graph if name not in used]
    seen = set(found)
    for name in found:
        for i in graph[name]:
            if i not in seen:
                seen.add(i)
                found.append(i)
    return found[::-1]


@sort.mistake("A node that is used twice stands in the list twice. Each node is to be written down once.")
def _(graph):
    topological_order(graph)
    used = {i for inputs in graph.values() for i in inputs}
    order = []
    for name in graph:
        if name not in used and len(graph) < DEEP:
            _walk(graph, name, order)
    return order


@sort.mistake("There is a cycle, and nobody was told: its nodes were left out. A ValueError is due.")
def _(graph):
    try:
        return topological_order(graph)
    except ValueError:
        done = []
        while ready := [n for n in graph if n not in done and set(graph[n]) <= set(done)]:
            done.extend(ready)
        return done


@sort.mistake("A diamond was taken for a cycle. That a node is met twice is no cycle; it is one if the node is met "
              "again while its own inputs are still being looked for.")
def _(graph):
    used = [i for inputs in graph.values() for i in set(inputs)]
    if len(used) != len(set(used)):
        raise ValueError("cycle")
    return topological_order(graph)


@sort.mistake("Only what the first node needs was put in order. The graph may have other ends, and nodes that stand "
              "alone.")
def _(graph):
    order = topological_order(graph)
    needed = set(list(graph)[:1])
    for name in reversed(order):
        if name in needed:
            needed.update(graph[name])
    return [name for name in order if name in needed]


@sort.variant
def _(graph):
    order, state = [], {}
    for start in graph:
        todo = [(start, False)]
        while todo:
            name, done = todo.pop()
            if done:
                order.append(name)
                state[name] = "done"
            elif state.get(name) == "open":
                raise ValueError("cycle")
            elif name not in state:
                state[name] = "open"
                todo.append((name, True))
                todo.extend((i, False) for i in graph[name] if state.get(i) != "done")
                if any(state.get(i) == "open" for i in graph[name]):
                    raise ValueError("cycle")
    return order


@sort.variant
def _(graph):
    waits = {name: set(inputs) for name, inputs in graph.items()}
    users = {}
    for name, inputs in waits.items():
        for i in inputs:
            users.setdefault(i, set()).add(name)
    ready, order = [name for name, inputs in waits.items() if not inputs], []
    while ready:
        name = ready.pop()
        order.append(name)
        for user in users.get(name, ()):
            waits[user].discard(name)
            if not waits[user]:
                ready.append(user)
    if any(waits.values()):
        raise ValueError("these wait for each other")
    return tuple(order)


# --- 02.2: a run that does what it must -------------------------------------------------------------------------------

session = Exercise(
    "02.2", "What the fetch needs", points=4, stars=2, minutes=20, hints=(
        "Two questions, two passes. Which nodes are needed? Then: what are their values? For the first, go through the "
        "graph from its end; for the second, from its beginning.",
        "Needed is what is fetched, and each input of what is needed. With one exception: for a node whose value is "
        "fed, nobody needs to know how it would be computed.",
        "First pass: over the nodes in reverse, growing a set. Second pass: forwards, with a dict of values that "
        "begins as a copy of the feed; a node is computed if it is in the set and not in the dict."))

FUNCTIONS = {"+": lambda a, b: a + b, "*": lambda a, b: a * b, "-": lambda a: -a, "square": lambda a: a * a}


@session.reference
def run(graph, fetches, feed):
    needed = set(fetches)
    for name in reversed(graph):
        if name in needed and name not in feed:
            needed.update(graph[name][1])
    values = dict(feed)
    for name, (function, inputs) in graph.items():
        if name in needed and name not in values:
            values[name] = function(*[values[i] for i in inputs])
    return [values[name] for name in fetches]


@session.observe
def _(answer, graph, fetches, feed):
    """The values, how often each node was computed, and what became of the feed."""
    counts = {}

    def counted(name, function):
        def count(*values):
            counts[name] = counts.get(name, 0) + 1
            return function(*values)
        return count
    made = {node: (counted(node, FUNCTIONS[op]), list(sources)) for node, (op, *sources) in graph.items()}
    values = answer(made, list(fetches), feed)
    if values is None:
        return None
    calls = {f"{name} computed": counts.get(name, 0) for name in graph}
    return {"values": list(values), **calls, "in the feed afterwards": len(feed)}


SMALL = {"h": ["*", "w", "x"], "out": ["+", "h", "b"], "twice": ["+", "h", "h"], "L": ["*", "twice", "out"]}


@session.cases
def _(rng):
    yield case(SMALL, ["out"], {"w": 2.0, "x": 3.0, "b": -1.0})
    yield case(SMALL, ["twice"], {"w": 2.0, "x": 3.0})
    yield case(SMALL, ["L", "h"], {"w": 2.0, "x": 3.0, "b": -1.0})
    yield case(SMALL, ["L"], {"h": 10.0, "b": 1.0})
    yield case(SMALL, ["L"], {"h": 10.0, "b": 1.0, "w": 5.0, "x": 5.0, "twice": 7.0})
    yield case(SMALL, ["L"], {"twice": 12.0, "out": 5.0, "w": 2.0, "x": 3.0})
    yield case(SMALL, ["x", "h"], {"w": 2.0, "x": 3.0})
    yield case(SMALL, ["out", "out"], {"w": 1.0, "x": 2.0, "b": 3.0})
    yield case(SMALL, [], {"w": 2.0})
    yield case({f"h{k}": ["+", f"h{k - 1}", f"h{k - 1}"] for k in range(1, 13)}, ["h12"], {"h0": 1.0})
    yield case(SMALL, ["out"], {"w": 2.0, "x": 3.0})
    for _ in range(3):
        names, graph = ["a", "b", "c"], {}
        for k in range(7):
            op = str(rng.choice(["+", "*", "-", "square"]))
            graph[f"n{k}"] = [op, *(str(i) for i in rng.choice(names, size=2 if op in "+*" else 1))]
            names.append(f"n{k}")
        feed = {name: float(rng.integers(-3, 4)) for name in ["a", "b", "c", f"n{rng.integers(0, 4)}"]}
        yield case(graph, [str(i) for i in rng.choice(names[4:], size=2, replace=False)], feed)


def _all_of(graph, feed):
    values = dict(feed)
    for name, (function, inputs) in graph.items():
        if name not in values:
            values[name] = function(*[values[i] for i in inputs])
    return values


@session.mistake("The whole graph was computed. Nodes that the fetch does not need are not to be run, and what only "
                 "they need is not to be fed.")
def _(graph, fetches, feed):
    values = _all_of(graph, feed)
    return [values[name] for name in fetches]


@session.mistake("A node was computed once for each of its users. It should be computed once, and its value kept.")
def _(graph, fetches, feed):
    def value(name):
        if name in feed:
            return feed[name]
        function, inputs = graph[name]
        return function(*map(value, inputs))
    return [value(name) for name in fetches]


@session.mistake("Each fetch was run on its own, so what they share was computed again. One run serves all fetches.")
def _(graph, fetches, feed):
    return [run(graph, [name], feed)[0] for name in fetches]


@session.mistake("A node in the middle was fed, and computed all the same. What is fed is known.")
def _(graph, fetches, feed):
    needed = set(fetches)
    for name in reversed(graph):
        if name in needed:
            needed.update(graph[name][1])
    values = {name: value for name, value in feed.items() if name not in graph}
    for name, (function, inputs) in graph.items():
        if name in needed:
            values[name] = function(*[values[i] for i in inputs])
    return [values[name] for name in fetches]


@session.mistake("The fed node was not computed, but what lies behind it was. If its value is known, nobody needs its "
                 "inputs.")
def _(graph, fetches, feed):
    needed = set(fetches)
    for name in reversed(graph):
        if name in needed:
            needed.update(graph[name][1])
    values = dict(feed)
    for name, (function, inputs) in graph.items():
        if name in needed and name not in values:
            values[name] = function(*[values[i] for i in inputs])
    return [values[name] for name in fetches]


@session.mistake("The feed has grown: the values were written into the caller's own dict, and the next run would take "
                 "them for fed ones. Begin with a copy.")
def _(graph, fetches, feed):
    needed = set(fetches)
    for name in reversed(graph):
        if name in needed and name not in feed:
            needed.update(graph[name][1])
    for name, (function, inputs) in graph.items():
        if name in needed and name not in feed:
            feed[name] = function(*[feed[i] for i in inputs])
    return [feed[name] for name in fetches]


@session.mistake("The values come in the order of the graph. They should come in the order in which they were fetched.")
def _(graph, fetches, feed):
    values = dict(zip(fetches, run(graph, fetches, feed)))
    return [values[name] for name in [*feed, *graph] if name in values]


@session.mistake("A placeholder that is needed was not fed, and it was taken for 0. Better an error (a KeyError) than "
                 "a number that nobody meant.")
def _(graph, fetches, feed):
    needed = set(fetches)
    for name in reversed(graph):
        if name in needed and name not in feed:
            needed.update(graph[name][1])
    return run(graph, fetches, {**{name: 0.0 for name in needed if name not in graph}, **feed})


@session.variant
def _(graph, fetches, feed):
    values, todo = dict(feed), list(fetches)
    while todo:
        name = todo[-1]
        missing = [i for i in graph[name][1] if i not in values] if name not in values else []
        todo.extend(missing)
        if not missing:
            todo.pop()
            if name not in values:
                values[name] = graph[name][0](*(values[i] for i in graph[name][1]))
    return tuple(values[name] for name in fetches)


@session.variant
def _(graph, fetches, feed):
    values = dict(feed)

    def value(name):
        if name not in values:
            function, inputs = graph[name]
            values[name] = function(*[value(i) for i in inputs])
        return values[name]
    return list(map(value, fetches))


# --- 02.3a: a loop as an op -------------------------------------------------------------------------------------------

loop = Exercise(
    "02.3a", "A loop as an op", points=2, stars=1, minutes=10, hints=(
        "Python's own `while` may be used here: this function runs when the graph runs, and then there are values.",
        "The state is several values. How do you hand them to a function that takes them one by one?",
        "Ask the test first, before any turn; then, as often as it says yes, let the body make the whole new state "
        "from the whole old one."))

LOOPS = {
    "double until 10": (lambda v: v < 10, lambda v: [v + v]),
    "count down": (lambda n: n > 0, lambda n: [n - 1]),
    "factorial": (lambda n, out: n > 1, lambda n, out: [n - 1, n * out]),
    "fibonacci": (lambda n, a, b: n > 0, lambda n, a, b: [n - 1, b, a + b]),
}


@loop.reference
def while_loop(test, body, state):
    while test(*state):
        state = body(*state)
    return state


@loop.observe
def _(answer, loop, state):
    """The last state, and how often test and body were called."""
    calls = {"test": 0, "body": 0}

    def counted(name, function):
        def count(*values):
            calls[name] += 1
            if calls[name] > 500:
                raise RuntimeError(f"{name} was called 500 times")
            return function(*values)
        return count
    test, body = LOOPS[loop]
    state = answer(counted("test", test), counted("body", body), list(state))
    return None if state is None else {"state": list(state), **calls}


@loop.cases
def _(rng):
    yield case("double until 10", [3.0])
    yield case("double until 10", [25.0])
    yield case("factorial", [5, 1])
    yield case("fibonacci", [6, 0, 1])
    yield case("count down", [0])
    for _ in range(2):
        yield case("double until 10", [float(rng.integers(1, 9))])
        yield case("fibonacci", [int(rng.integers(2, 12)), 0, 1])


@loop.mistake("The body ran once before the test was asked. A loop may have no turn at all.")
def _(test, body, state):
    state = body(*state)
    while test(*state):
        state = body(*state)
    return state


@loop.mistake("This is an `if`: there is one turn at most. The test has to be asked again after each turn.")
def _(test, body, state):
    return body(*state) if test(*state) else state


@loop.mistake("It goes on while the test says no. The test says whether to go on.")
def _(test, body, state):
    while not test(*state):
        state = body(*state)
    return state


@loop.mistake("The state before the last turn was returned: one turn is missing.")
def _(test, body, state):
    last = state
    while test(*state):
        last, state = state, body(*state)
    return last


@loop.mistake("The values of the state were handed over as one list. Test and body take them one by one.")
def _(test, body, state):
    while test(state):
        state = body(state)
    return state


@loop.mistake("The test is asked twice in each turn. Where it is a graph of its own, it would be run twice.")
def _(test, body, state):
    while test(*state):
        if test(*state):
            state = body(*state)
    return state


@loop.variant
def _(test, body, state):
    while True:
        if not test(*state):
            return tuple(state)
        state = tuple(body(*state))


# --- 02.3b: a loop without a loop -------------------------------------------------------------------------------------

frozen = Exercise(
    "02.3b", "A loop without a loop", points=3, stars=3, minutes=15, honest=(), hints=(
        "Run the lines in your head while the graph is written: x has a shape and no numbers. What can Python still "
        "decide, and what not? `turns` is an ordinary number.",
        "Every entry goes through all turns. An entry that has arrived must not be changed by the turns that follow.",
        "In each turn: compute what halving would give, for all entries; then let an op choose for each entry between "
        "that and what it was. The lesson wrote `where` for one number; minidl's takes a condition and two tensors."))


@frozen.reference
def halved(x, turns):
    for _ in range(turns):
        x = where(x > 1, x / 2, x)
    return x


@frozen.observe
def _(answer, x, turns):
    """The graph is written before there are numbers; then it is run."""
    builder = Builder()
    with builder.as_default():
        given = placeholder((len(x),), np.float64, "x")
        out = answer(given, turns)
    if out is None:
        return None
    return Session(builder).run(out, {given: x}).numpy()


@frozen.cases
def _(rng):
    yield case(np.array([8.0, 1.0, 3.0, 0.5]), 5)
    yield case(np.array([1.0, 2.0]), 3)
    yield case(np.array([100.0, 1.5]), 2)
    yield case(np.array([-6.0, 6.0]), 4)
    yield case(np.array([5.0]), 0)
    for _ in range(2):
        yield case(np.round(rng.uniform(0.2, 60.0, size=5), 2), int(rng.integers(2, 7)))


@frozen.mistake("Python was asked whether a value is above 1, while the graph is being written and there are no "
                "values. The decision has to become an op.")
def _(x, turns):
    for _ in range(turns):
        if (x > 1).all():
            x = x / 2
    return x


@frozen.mistake("Every entry was halved in every turn, also those that had arrived.")
def _(x, turns):
    for _ in range(turns):
        x = x / 2
    return x


@frozen.mistake("There was one turn. The graph must hold as many as `turns` says.")
def _(x, turns):
    return where(x > 1, x / 2, x) if turns else x


@frozen.mistake("The choice is the wrong way round: what is above 1 stays, and the rest is halved.")
def _(x, turns):
    for _ in range(turns):
        x = where(x > 1, x, x / 2)
    return x


@frozen.mistake("An entry of exactly 1 has arrived and stays; here it was halved once more.")
def _(x, turns):
    for _ in range(turns):
        x = where(x >= 1, x / 2, x)
    return x


@frozen.mistake("Who is above 1 was asked once, before the first turn. It changes from turn to turn.")
def _(x, turns):
    above = x > 1
    for _ in range(turns):
        x = where(above, x / 2, x)
    return x


@frozen.variant
def _(x, turns):
    for _ in range(turns):
        above = (x > 1).double()
        x = x * (1 - above) + x * above * 0.5
    return x


@frozen.variant
def _(x, turns):
    for _ in range(turns):
        x = where(x <= 1, x, 0.5 * x)
    return x
