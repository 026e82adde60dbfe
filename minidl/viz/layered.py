"""Where the boxes of a graph go: in columns from left to right, so that lines are short and cross little.

The steps are those of Sugiyama, Tagawa and Toda ("Methods for visual understanding of hierarchical system structures",
1981): a column for each box, places for the lines that pass through, an order within each column, then heights. The
same graph gives the same layout, on every machine.
"""
from dataclasses import dataclass, field

GAP_X, GAP_Y, GAP_LINE = 40.0, 18.0, 8.0     # px between columns, between boxes, beside a line that passes through
SWEEPS = 8
GAP_BAND, TURN, PASSING = 34.0, 22.0, 3      # between lines of columns; room for arrows to turn; as many as may do so
SPAN = 14                                    # a line over more columns than this is drawn without a place in each


@dataclass
class Layout:
    """The result.

    Attributes:
        boxes: id -> (x, y, width, height), from the top left.
        routes: for each edge the points that its line goes through.
        lines: (top, bottom) of each line of columns.
        width, height: of all of it.
    """

    boxes: dict
    routes: list
    width: float
    height: float
    lines: list


@dataclass
class _Column:
    members: list = field(default_factory=list)
    width: float = 0.0


def arrange(sizes, edges, together=(), limit=float("inf")):
    """Lay a graph out.

    Args:
        sizes: id -> (width, height) in px, in an order in which each comes after its inputs.
        edges: (source, target) pairs; without cycles.
        together: lists of ids that should lie side by side, because a frame is drawn around them.
        limit: a new line of columns begins where the picture would be wider, if that can be done.

    Returns:
        a Layout.
    """
    ranks = rank(sizes, edges, together)
    chains, heights = _chains(sizes, edges, ranks)
    columns = _columns(ranks, chains)
    links = [pair for chain in chains for pair in zip(chain, chain[1:])]
    _order(columns, links, {member: k for k, group in enumerate(together) for member in group})
    centres = _centres(columns, links, heights)
    return _finished(sizes, columns, chains, centres, together, limit)


# ---------------------------------------------------------------------- columns
def rank(sizes, edges, together=()):
    """The column of each box: one more than that of its last input.

    What has no input stands beside its first user, or before the frame that it goes into.

    >>> rank({"a": (1, 1), "b": (1, 1), "c": (1, 1)}, [("a", "b"), ("b", "c")])
    {'a': 0, 'b': 1, 'c': 2}
    """
    inputs, users = {}, {}
    for source, target in edges:
        inputs.setdefault(target, []).append(source)
        users.setdefault(source, []).append(target)
    ranks = {}
    for name in sizes:
        ranks[name] = 1 + max((ranks[x] for x in inputs.get(name, ())), default=-1)
    starts = {m: min(ranks[m] for m in group) for group in together for m in group}
    own = {m: set(group) for group in together for m in group}
    for name in sizes:
        if name not in inputs and name in users:
            first = {u: starts[u] for u in users[name] if u in starts and name not in own[u]}
            ranks[name] = min(first.get(u, ranks[u]) for u in users[name]) - 1
    lowest = min(ranks.values(), default=0)
    return {name: r - lowest for name, r in ranks.items()}


def _chains(sizes, edges, ranks):
    """For each edge the boxes and the places in between that it goes through; and the height of everything."""
    heights = {name: height for name, (_, height) in sizes.items()}
    chains = []
    for k, (source, target) in enumerate(edges):
        between = range(ranks[source] + 1, ranks[target]) if ranks[target] - ranks[source] <= SPAN else ()
        places = [(k, r) for r in between]
        heights.update(dict.fromkeys(places, 0.0))
        chains.append([source, *places, target])
    return chains, heights


def _columns(ranks, chains):
    columns = [_Column() for _ in range(max(ranks.values(), default=-1) + 1)]
    for name, r in ranks.items():
        columns[r].members.append(name)
    for chain in chains:
        for place in chain[1:-1]:
            columns[place[1]].members.append(place)
    return [column.members for column in columns]


# ---------------------------------------------------------------------- order within a column
def _order(columns, links, groups):
    """Sort each column by where its neighbours stand, to and fro; the order with the fewest crossings is kept."""
    left, right = _neighbours(links)
    for column in columns:
        column.sort(key=_with_groups(column, {name: float(k) for k, name in enumerate(column)}, groups))
    best, fewest = [list(c) for c in columns], _crossings(columns, right)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        forward = sweep % 2 == 0
        order = columns if forward else columns[::-1]
        near = left if forward else right
        for before, column in zip(order, order[1:]):
            place = {name: k for k, name in enumerate(before)}
            keys = {name: _middle([place[x] for x in near.get(name, ()) if x in place], k)
                    for k, name in enumerate(column)}
            column.sort(key=_with_groups(column, keys, groups))
        now = _crossings(columns, right)
        if now < fewest:
            best, fewest = [list(c) for c in columns], now
    for column, members in zip(columns, best):
        column[:] = members


def _with_groups(column, keys, groups):
    """A sort key under which the members of a group stay together."""
    sums = {}
    for name in column:
        if name in groups:
            sums.setdefault(groups[name], []).append(keys[name])
    means = {group: sum(values) / len(values) for group, values in sums.items()}
    return lambda name: (means[groups[name]], groups[name], keys[name]) if name in groups else (keys[name], -1, 0.0)


def _neighbours(links):
    left, right = {}, {}
    for a, b in links:
        right.setdefault(a, []).append(b)
        left.setdefault(b, []).append(a)
    return left, right


def _middle(places, otherwise):
    return sum(places) / len(places) if places else float(otherwise)


def _crossings(columns, right):
    """How many pairs of lines cross, counted between each two columns."""
    total = 0
    for column, after in zip(columns, columns[1:]):
        place = {name: k for k, name in enumerate(after)}
        ends = [p for name in column for p in sorted(place[x] for x in right.get(name, ()) if x in place)]
        total += _inversions(ends)
    return total


def _inversions(numbers):
    """How many pairs stand in the wrong order, by merging.

    >>> _inversions([3, 1, 2])
    2
    """
    if len(numbers) < 2:
        return 0
    half = len(numbers) // 2
    a, b = numbers[:half], numbers[half:]
    count = _inversions(a) + _inversions(b)
    a, b, k = sorted(a), sorted(b), 0
    for x in a:
        while k < len(b) and b[k] < x:
            k += 1
        count += k
    return count


# ---------------------------------------------------------------------- heights
def _centres(columns, links, heights):
    """The height of each box's centre: near the mean of its neighbours, and none on top of another."""
    left, right = _neighbours(links)
    centres = {}
    for column in columns:
        y = 0.0
        for name in column:
            centres[name] = y + heights[name] / 2
            y += heights[name] + GAP_Y
    for sweep in range(2 * SWEEPS):
        forward = sweep % 2 == 0
        for column in columns if forward else columns[::-1]:
            wanted, weights = [], []
            for name in column:
                near = (left if forward else right).get(name) or (right if forward else left).get(name) or ()
                wanted.append(sum(centres[x] for x in near) / len(near) if near else centres[name])
                weights.append(8.0 if isinstance(name, tuple) else 1.0 + len(near))
            gaps = [_gap(a, b, heights) for a, b in zip(column, column[1:])]
            centres.update(zip(column, spaced(wanted, gaps, weights)))
    return centres


def _gap(a, b, heights):
    """How far apart the centres of two neighbours in a column must be."""
    line = isinstance(a, tuple) or isinstance(b, tuple)
    return (heights[a] + heights[b]) / 2 + (GAP_LINE if line else GAP_Y)


def spaced(wanted, gaps, weights):
    """Numbers as near as can be to those wanted (least squares), each at least a gap after the one before.

    >>> spaced([0.0, 0.0, 5.0], [2.0, 2.0], [1.0, 1.0, 1.0])
    [-1.0, 1.0, 5.0]
    """
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    blocks = []                                        # [weighted mean, weight, count] of neighbours that touch
    for want, offset, weight in zip(wanted, offsets, weights):
        blocks.append([want - offset, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            mean, weight_, count = blocks.pop()
            before = blocks[-1]
            total = before[1] + weight_
            before[:] = [(before[0] * before[1] + mean * weight_) / total, total, before[2] + count]
    flat = [mean for mean, _, count in blocks for _ in range(count)]
    return [x + offset for x, offset in zip(flat, offsets)]


# ---------------------------------------------------------------------- lines of columns, as text has lines
def breaks(widths, spans, together, limit):
    """The columns at which a new line begins, so that no line is wider than `limit` if that can be had.

    A line is broken only where few arrows pass, and never within a frame.

    Args:
        widths: of the columns, with the gap behind each.
        spans: (first, last) column of each arrow.
        together: (first, last) column of each frame.

    >>> breaks([40] * 6, [(k, k + 1) for k in range(5)], [], 130)
    [0, 3]
    """
    def passing(c):
        return sum(a < c <= b for a, b in spans)
    starts, inside = [0], {c for a, b in together for c in range(a + 1, b + 1)}
    allowed = [c for c in range(1, len(widths)) if c not in inside and passing(c) <= PASSING]
    while sum(widths[starts[-1]:]) > 1.1 * limit:      # no new line for a box or two
        ends = [c for c in allowed if c > starts[-1] and sum(widths[starts[-1]:c]) > limit / 2]
        fits = [c for c in ends if sum(widths[starts[-1]:c]) <= limit]
        found = min(fits, key=lambda c: (passing(c), -c)) if fits else next(iter(ends), None)
        if found is None:
            break
        starts.append(found)
    return starts


def _finished(sizes, columns, chains, centres, together, limit):
    """Boxes and lines in px, from (0, 0)."""
    widths = [max((sizes[n][0] for n in column if n in sizes), default=0.0) for column in columns]
    place = {name: r for r, column in enumerate(columns) for name in column}
    spans = [(place[chain[0]], place[chain[-1]]) for chain in chains]
    frames = [(min(place[m] for m in group), max(place[m] for m in group)) for group in together if group]
    starts = breaks([w + GAP_X for w in widths], spans, frames, limit)
    band_of = {name: sum(s <= r for s in starts) - 1 for name, r in place.items()}
    tops, gaps, lines = _stacked_bands(sizes, centres, band_of, starts, spans)
    boxes, spots, edges_of, x, total = {}, {}, {}, 0.0, 0.0
    for r, (column, width) in enumerate(zip(columns, widths)):
        x = TURN if r in starts and len(starts) > 1 else 0.0 if r == 0 else x
        for name in column:
            y = centres[name] + tops[band_of[name]]
            if name in sizes:
                w, h = sizes[name]
                boxes[name] = x + (width - w) / 2, y - h / 2, w, h
            else:
                spots[name] = (x, y), (x + width, y)
            edges_of[name] = x, x + width
        total = max(total, x + width)
        x += width + GAP_X
    right, height = total + TURN, lines[-1][1]
    turns = dict.fromkeys(range(len(starts)), 0)
    routes = [_route(chain, boxes, spots, edges_of, band_of, gaps, turns, right) for chain in chains]
    return Layout(boxes, routes, right + TURN if len(starts) > 1 else total, height, lines)


def _stacked_bands(sizes, centres, band_of, starts, spans):
    """For each line of columns what to add to its heights, where the gap above it is, and its top and bottom."""
    tops, gaps, lines, y = [], [], [], 0.0
    for band, start in enumerate(starts):
        halves = {n: sizes[n][1] / 2 if n in sizes else 0.0 for n, b in band_of.items() if b == band}
        reach = [(centres[n] - half, centres[n] + half) for n, half in halves.items()]
        low, high = min((a for a, _ in reach), default=0.0), max((b for _, b in reach), default=0.0)
        if band:
            gaps.append(y + GAP_BAND / 2)
            y += GAP_BAND + 6 * sum(a < start <= b for a, b in spans)
        else:
            gaps.append(0.0)
        tops.append(y - low)
        lines.append((y, y + high - low))
        y += high - low
    return tops, gaps, lines


def _route(chain, boxes, spots, edges_of, band_of, gaps, turns, right):
    """The points of a line: level to the edge of its column, then on; so it does not run into a wider neighbour.

    Where a new line of columns begins, it goes out to the right, back below, and in from the left.
    """
    source, *between, target = chain
    x, y, w, h = boxes[source]
    a, b, _, height = boxes[target]
    start, end = y + h / 2, b + height / 2
    stops = [(source, [(x + w, start), (edges_of[source][1], start)]), *((place, spots[place]) for place in between),
             (target, [(edges_of[target][0], end), (a, end)])]
    points = []
    for (name, some), (before, _) in zip(stops, [stops[0], *stops]):
        for band in range(band_of[before] + 1, band_of[name] + 1):
            k, turns[band] = turns[band], turns[band] + 1
            level, last = gaps[band] + 6 * k, points[-1][1]
            points += [(right - 3 * k, last), (right - 3 * k, level), (3.0 * k, level), (3.0 * k, some[0][1])]
        points += some
    return [point for k, point in enumerate(points) if k == 0 or point != points[k - 1]]
