"""The layout of graphs: columns follow the arrows, boxes do not touch, lines cross little."""
import itertools
import random

import pytest

from minidl.viz.layered import GAP_Y, _crossings, _inversions, _neighbours, arrange, breaks, rank, spaced

BOX = (50.0, 20.0)


def some_graph(seed, count=40):
    """(sizes, edges) of a graph made by chance, without cycles."""
    draws = random.Random(seed)
    sizes = {f"v{k}": (draws.randint(20, 90), draws.randint(15, 60)) for k in range(count)}
    edges = [(f"v{a}", f"v{b}") for b in range(1, count) for a in draws.sample(range(b), min(b, draws.randint(0, 2)))]
    return sizes, edges


@pytest.mark.parametrize("seed", range(8))
def test_arrows_point_right_and_boxes_do_not_touch(seed):
    sizes, edges = some_graph(seed)
    layout = arrange(sizes, edges)
    for (a, b), route in zip(edges, layout.routes):
        assert layout.boxes[a][0] + layout.boxes[a][2] < layout.boxes[b][0]
        assert [x for x, _ in route] == sorted(x for x, _ in route)
        assert route[0][0] == layout.boxes[a][0] + layout.boxes[a][2] and route[-1][0] == layout.boxes[b][0]
    for (x, y, w, h), (a, b, c, d) in itertools.combinations(layout.boxes.values(), 2):
        assert x + w <= a or a + c <= x or y + h <= b + 1e-6 or b + d <= y + 1e-6
    assert all(x >= 0 and y >= -1e-6 and x + w <= layout.width + 1e-6 and y + h <= layout.height + 1e-6
               for x, y, w, h in layout.boxes.values())


def test_the_same_graph_has_the_same_layout():
    assert arrange(*some_graph(3)) == arrange(*some_graph(3))


def test_what_has_no_input_stands_beside_its_user():
    sizes = dict.fromkeys(["x", "a", "b", "w", "c"], BOX)
    edges = [("x", "a"), ("a", "b"), ("b", "c"), ("w", "c")]
    assert rank(sizes, edges)["w"] == 2
    assert rank(sizes, edges, [["b", "c"]])["w"] == 1           # before the frame that it goes into
    assert rank(sizes, edges, [["b", "w", "c"]])["w"] == 2      # unless it belongs to it


def test_crossings_are_removed_where_they_can_be():
    sizes = dict.fromkeys(["a", "b", "c", "d"], BOX)
    boxes = arrange(sizes, [("a", "d"), ("b", "c")]).boxes
    assert (boxes["a"][1] < boxes["b"][1]) == (boxes["d"][1] < boxes["c"][1])


@pytest.mark.parametrize("seed", range(5))
def test_inversions_are_counted(seed):
    numbers = [random.Random(seed).randint(0, 9) for _ in range(30)]
    assert _inversions(numbers) == sum(a > b for a, b in itertools.combinations(numbers, 2))


def test_crossings_are_counted():
    links = [("a", "d"), ("b", "c"), ("a", "c")]
    assert _crossings([["a", "b"], ["c", "d"]], _neighbours(links)[1]) == 1


@pytest.mark.parametrize("seed", range(5))
def test_spaced_numbers_keep_their_gaps_and_are_nearest(seed):
    draws = random.Random(seed)
    wanted, gaps = [draws.uniform(0, 50) for _ in range(6)], [draws.uniform(1, 10) for _ in range(5)]
    weights = [draws.uniform(1, 3) for _ in range(6)]
    found = spaced(wanted, gaps, weights)

    def cost(numbers):
        return sum(w * (a - b) ** 2 for w, a, b in zip(weights, numbers, wanted))
    assert all(b - a >= gap - 1e-9 for a, b, gap in zip(found, found[1:], gaps))
    for _ in range(300):                               # no allowed neighbour is better
        other = [x + draws.gauss(0, 0.5) for x in found]
        if all(b - a >= gap for a, b, gap in zip(other, other[1:], gaps)):
            assert cost(other) >= cost(found) - 1e-9


def test_a_straight_chain_is_straight():
    sizes = {f"v{k}": BOX for k in range(6)}
    boxes = arrange(sizes, list(itertools.pairwise(sizes))).boxes
    assert len({y for _, y, _, _ in boxes.values()}) == 1


def test_boxes_of_a_frame_lie_together():
    sizes = dict.fromkeys(("s", "a", "b", "c", "d"), BOX)
    edges = [("s", name) for name in "abcd"]
    boxes = arrange(sizes, edges, [["a", "d"]]).boxes
    assert abs(boxes["a"][1] - boxes["d"][1]) == pytest.approx(BOX[1] + GAP_Y)


def test_a_long_graph_goes_on_in_a_new_line():
    sizes = dict.fromkeys([f"v{k}" for k in range(12)], BOX)
    edges = list(itertools.pairwise(sizes))
    wide, layout = arrange(sizes, edges), arrange(sizes, edges, limit=500)
    assert wide.width > 1000 and layout.width < 600 and len(layout.lines) == 3
    for (x, y, w, h), (a, b, c, d) in itertools.combinations(layout.boxes.values(), 2):
        assert x + w <= a or a + c <= x or y + h <= b or b + d <= y
    for (a, b), route in zip(edges, layout.routes):
        assert route[0][0] == layout.boxes[a][0] + BOX[0] and route[-1][0] == layout.boxes[b][0]
        assert all(0 <= x <= layout.width and 0 <= y <= layout.height for x, y in route)
        for (x, y, w, h) in layout.boxes.values():     # no line runs through a box
            middles = [((p + r) / 2, (q + s) / 2) for (p, q), (r, s) in zip(route, route[1:])]
            assert not any(x < p < x + w and y < q < y + h for p, q in middles)


@pytest.mark.parametrize("spans, frames, starts", [
    ([(k, k + 1) for k in range(9)], [], [0, 5]), ([(0, 9)] * 4, [], [0]), ([], [(2, 9)], [0]),
    ([(3, 6)] * 2, [], [0, 3, 8]), ([], [(3, 6)], [0, 3, 8]),
])
def test_a_line_is_broken_where_few_arrows_pass_and_not_in_a_frame(spans, frames, starts):
    assert breaks([40.0] * 10, spans, frames, 200.0) == starts
