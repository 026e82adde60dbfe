"""A large GraphView made smaller: modules closed, turns of a loop laid upon each other, constants beside their users.

Each function takes a view and returns another; what it says stays true, there is less of it.
"""
import heapq
from collections import Counter
from dataclasses import replace

from .graphview import Edge, Group

LEAST, SHORTEST = 3, 8                 # so many turns make a loop, and so many steps in all
LONGEST = 400                          # steps in one turn


# ---------------------------------------------------------------------- modules
def close_modules(view, modules, depth=None):
    """Each module becomes one item.

    Args:
        view: a GraphView whose items know their scope.
        modules: from the labels of calls to modules, as `watch.modules` gives it.
        depth: close what lies so deep and deeper; None closes those modules that have no modules in them.
    """
    def closed(scope):
        for level, label in enumerate(scope):
            if (level >= depth) if depth is not None else not modules[label].children():
                return label
        return None

    inside = {item.id: closed(item.scope) for item in view.items if item.computed and item.kind != "failed"}
    inside |= _swallowed(view, inside)
    groups = {}
    for item in view.items:
        if inside.get(item.id):
            groups.setdefault(inside[item.id], []).append(item)
    made = {label: _closed(label, modules[label], members, view) for label, members in groups.items()}
    return _merged(view, {item.id: made[label] for label, members in groups.items() for item in members})


def _swallowed(view, inside):
    """The leaves all of whose users are in one closed module, and where they go."""
    users = {}
    for edge in view.edges:
        users.setdefault(edge.source, set()).add(inside.get(edge.target))
    leaves = [item.id for item in view.items if item.kind in ("parameter", "constant")
              or (item.kind == "input" and not item.name)]                   # a mask of dropout, a first state
    return {leaf: next(iter(users[leaf])) for leaf in leaves if len(users.get(leaf, ())) == 1}


def _closed(label, module, members, view):
    """The Item of a whole module."""
    ids = {item.id for item in members}
    steps = [item for item in members if item.computed]
    out = next((item for item in reversed(steps) if not any(e.source == item.id and e.target in ids
                                                            for e in view.edges)), steps[-1])
    count = sum(p.numel() for p in module.parameters())
    note = f"{count:,} parameter{'s' * (count != 1)}" if count else ""
    last = out.kind == "loss"
    settings = module.extra_repr() if not module.children() else ""
    name = type(module).__name__ + (f"({settings})" if 0 < len(settings) < 16 else "")
    return replace(out, kind="module", symbol=label, op="", name=name, note=note,
                   scope=tuple(_before(out.scope, label)), saved=sum(item.saved for item in members), line="",
                   reason="" if last else out.reason)


def _before(scope, label):
    return scope[:scope.index(label)] if label in scope else scope


# ---------------------------------------------------------------------- loops
def stack_repeats(view, least=LEAST):
    """The turns of a loop, or equal layers in a row, become one turn with `×50`; what goes round gets an edge back."""
    while True:
        found = _longest_run(view, least)
        if found is None:
            return view
        view = _stacked(view, *found)


def _signature(item):
    return item.kind if item.kind != "loss" else "op", item.symbol if item.kind != "module" else "", item.name, \
        item.shape, item.dtype, item.count


def _longest_run(view, least):
    """(steps, start, period, turns) of the run that covers most steps; None if there is none.

    The steps are the computed items in order. Two turns are alike if their steps are the same ops with the same
    shapes, and each takes its inputs from the same place: so many steps back, or from outside.
    """
    steps = [item for item in view.items if item.computed and item.kind != "failed"]
    place = {item.id: k for k, item in enumerate(steps)}
    signatures = [_signature(item) for item in steps]
    sources = {item.id: [] for item in view.items}
    for edge in sorted(view.edges, key=lambda e: e.index):
        if edge.kind == "value":
            sources[edge.target].append(edge.source)
    grouped = {member for group in view.groups for member in group.members}
    best = None
    for period in range(1, min(len(steps) // least, LONGEST) + 1):
        k = 0
        while k + period < len(steps):
            start = k
            while k + period < len(steps) and signatures[k] == signatures[k + period]:
                k += 1
            turns = (k - start) // period + 1
            if turns >= least and turns * period >= SHORTEST and (best is None or turns * period > best[2] * best[3]):
                found = _aligned(steps, place, sources, start, period, k - start + period, least, grouped)
                if found and found[1] * period >= SHORTEST and (best is None or found[1] * period > best[2] * best[3]):
                    best = steps, found[0], period, found[1]
            k += 1
    return best


def _aligned(steps, place, sources, start, period, length, least, grouped):
    """(start, turns) of the longest run of turns that are wired alike, wherever in the stretch it begins."""
    best = None
    for begin in range(start, min(start + period, start + length - least * period + 1)):
        turns = 1
        while begin + (turns + 1) * period <= start + length and all(
                _alike(steps, place, sources, k, k + period, begin) and steps[k].id not in grouped
                for k in range(begin + (turns - 1) * period, begin + turns * period)):
            turns += 1
        if turns >= least and (best is None or turns > best[1]):
            best = begin, turns
    return best


def _alike(steps, place, sources, a, b, begin):
    """Whether step b is wired as step a, one turn before it, is."""
    left, right = sources[steps[a].id], sources[steps[b].id]
    if len(left) != len(right):
        return False
    for x, y in zip(left, right):
        p, q = place.get(x), place.get(y)
        if p is not None and q is not None and q - p == b - a:          # so many steps back
            continue
        outside = (p is None or p < begin), (q is None or q < begin)
        if outside == (True, True) and (p is None) == (q is None):
            continue
        if outside != (True, False):                    # the first turn may start from something else
            return False
        if a >= begin + (b - a):                         # ... but only the first
            return False
    return True


def _stacked(view, steps, begin, period, turns):
    """The view with `turns` turns laid upon each other."""
    body = [[steps[begin + t * period + k] for t in range(turns)] for k in range(period)]
    chosen = {}
    for same in body:
        keep = same[0]
        plain = {} if keep.kind != "module" else {"symbol": _range([item.symbol for item in same])}
        kept = replace(keep, kind="op" if keep.kind == "loss" else keep.kind, value="", gradient="", reason="",
                       saved=sum(item.saved for item in same), line=keep.line, **plain)
        chosen.update({item.id: kept for item in same})
    turn = {item.id: t for same in body for t, item in enumerate(same)}
    chosen |= _stacked_leaves(view, turn, chosen, turns)
    new = _merged(view, chosen, turn)
    members = tuple(dict.fromkeys(chosen[same[0].id].id for same in body))
    first, last = body[0][0].scope[-1:], body[0][-1].scope[-1:]
    name = _range([*first, *last]) if period > 1 and first and all(s[0].scope[-1:] == first for s in body) else ""
    return new.with_(groups=(*new.groups, Group(name, members, turns)))


def _stacked_leaves(view, turn, chosen, turns):
    """The leaves of which each turn has its own: all those at one place of the turn become one."""
    users = {}
    for edge in view.edges:
        users.setdefault(edge.source, []).append(edge)
    sets = {}
    for item in view.items:
        edges = users.get(item.id, [])
        if not item.computed and edges and all(e.target in turn for e in edges):
            if len({turn[e.target] for e in edges}) == 1:
                sets.setdefault((item.kind, item.shape, item.dtype,
                                 tuple(sorted((chosen[e.target].id, e.index) for e in edges))), []).append(item)
    found = {}
    for same in sets.values():
        if len(same) >= turns - 1 and len(same) > 1:
            differs = len({item.value for item in same}) > 1
            name = _range([item.name for item in same]) if same[0].name else ""
            first = replace(same[0], name=name, value="" if differs else same[0].value,
                            gradient="", reason="", count=len(same) * same[0].count)
            found.update({item.id: first for item in same})
    return found


def _range(names):
    """The names from the first to the last, as short as can be.

    >>> _range(["layers.0.norm", "layers.1.norm", "layers.2.norm"]), _range(["first", "second"])
    ('layers.0…2.norm', 'first … second')
    """
    first, last = names[0].split("."), names[-1].split(".")
    differ = [k for k, (a, b) in enumerate(zip(first, last)) if a != b]
    if not differ and len(first) == len(last):
        return names[0]
    if len(differ) == 1 and len(first) == len(last) and first[differ[0]].isdigit():
        first[differ[0]] += f"…{last[differ[0]]}"
        return ".".join(first)
    return f"{names[0]} … {names[-1]}"


def _merged(view, chosen, turn=None):
    """The view with the item that `chosen` names in place of each; edges that fall together are counted.

    Args:
        turn: which turn of a loop an item is in; an edge from one turn to a later one becomes one that goes round.
    """
    turn = turn or {}
    items, seen = [], set()
    for item in view.items:
        new = chosen.get(item.id, item)
        if new.id not in seen:
            seen.add(new.id)
            items.append(new)
    modules = {item.id for item in chosen.values() if item.kind == "module"}
    edges, times = {}, Counter()
    for edge in view.edges:
        times[edge.source, edge.target] += 1           # x * x takes x twice: these stay apart
        source, target = (chosen.get(x, view.index[x]).id for x in (edge.source, edge.target))
        leaving = edge.source in turn and edge.target not in turn            # each turn has an edge of its own there
        later = edge.source in turn and edge.target in turn and turn[edge.source] < turn[edge.target]
        if source == target and not later:
            continue
        kind, place = "next" if later else edge.kind, edge.index
        place = times[edge.source, edge.target] if leaving else 0 if target in modules else place
        before = edges.get((source, target, kind, place))
        count = edge.count + (before.count if before and leaving else 0)
        edges[source, target, kind, place] = Edge(source, target, before.index if before else edge.index, kind, count,
                                                  edge.saved)
    merged = list(edges.values())
    groups = []
    for group in view.groups:
        members = tuple(dict.fromkeys(chosen.get(m, view.index[m]).id for m in group.members))
        groups.append(replace(group, members=members))
    return view.with_(items=tuple(_sorted(items, merged)), edges=tuple(merged), groups=tuple(groups))


def _sorted(items, edges):
    """The items in an order in which each comes after its inputs, otherwise as they were."""
    waiting, place = {item.id: 0 for item in items}, {item.id: k for k, item in enumerate(items)}
    users = {}
    for edge in edges:
        if edge.kind in ("value", "cut"):
            waiting[edge.target] += 1
            users.setdefault(edge.source, []).append(edge.target)
    ready = [(place[i], i) for i, n in waiting.items() if not n]
    heapq.heapify(ready)
    order = []
    while ready:
        _, name = heapq.heappop(ready)
        order.append(name)
        for user in users.get(name, ()):
            waiting[user] -= 1
            if not waiting[user]:
                heapq.heappush(ready, (place[user], user))
    index = {item.id: item for item in items}
    return [index[name] for name in [*order, *(i for i in waiting if waiting[i] > 0)]]


# ---------------------------------------------------------------------- constants
def set_aside(view, most=4):
    """An input that is used in more than `most` places stands beside each of its users, as a copy of itself."""
    users = Counter(edge.source for edge in view.edges)
    busy = {item.id for item in view.items if item.kind in ("input", "constant") and users[item.id] > most
            and not item.gradient}
    items, edges, copies = [], [], {}
    for edge in view.edges:
        if edge.source in busy:
            known = copies.setdefault(edge.source, [])
            known.append(f"{edge.source}_{len(known) + 1}" if known else edge.source)
            edge = replace(edge, source=known[-1])
        edges.append(edge)
    for item in view.items:
        items += [replace(item, id=name) for name in copies.get(item.id, [item.id])]
    return view.with_(items=tuple(items), edges=tuple(edges)) if busy else view


# ---------------------------------------------------------------------- frames
def frames(view):
    """The modules that are open, as groups: the items that were computed in each call."""
    found, users = {}, {}
    for edge in view.edges:
        users.setdefault(edge.source, []).append(view.index[edge.target].scope)
    for item in view.items:
        scope = item.scope
        if not item.computed and item.kind != "input" and users.get(item.id):
            scope = [label for label in users[item.id][0] if all(label in other for other in users[item.id])]
        for label in scope:
            found.setdefault(label, []).append(item.id)
    taken = [set(group.members) for group in view.groups]
    steps = sum(item.computed for item in view.items)
    groups = [Group(label, tuple(members)) for label, members in found.items()
              if set(members) not in taken and sum(view.index[m].computed for m in members) < steps]
    return view.with_(groups=(*groups, *view.groups))
