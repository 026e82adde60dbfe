"""sketch: small graphs of a learner's own notes."""
import pytest

from minidl.errors import ArgumentError
from minidl.viz import sketch
from minidl.viz.sketches import places_of


class Note:
    """The least that can be drawn."""

    def __init__(self, op, *inputs, name=""):
        self.op, self.inputs, self.name = op, inputs, name


def diamond():
    x, w = Note("given", name="x"), Note("given", name="w")
    h = Note("*", w, x)
    square = Note("*", h, h)
    return x, w, h, square, Note("+", square, h)


def test_a_note_stands_right_of_its_inputs_and_alone_on_its_place():
    notes = dict.fromkeys(diamond())
    (place,) = places_of([("", notes, [])])
    assert len(set(place.values())) == len(notes)
    for note in notes:
        assert all(place[i][0] < place[note][0] for i in note.inputs)


def test_the_order_of_the_notes_does_not_matter():
    (place,) = places_of([("", dict.fromkeys(reversed(diamond())), [])])
    assert max(column for column, _ in place.values()) == 3


def test_what_is_used_late_stands_late():
    x, w, h, *_ = diamond()
    b = Note("given", name="b")
    (place,) = places_of([("", dict.fromkeys((x, w, b, h, Note("+", h, b))), [])])
    assert place[x][0] == 0 and place[b][0] == place[h][0] == 1


def test_frames_of_one_graph_share_their_places_and_others_do_not():
    x, w, h, *_ = diamond()
    early, late = places_of([("", {x: 1.0, w: 2.0}, []), ("", {x: 1.0, w: 2.0, h: 2.0}, [])])
    assert early == late
    y = Note("given", name="y")
    one, other = places_of([("", {x: 1.0}, []), ("", {y: 1.0}, [])])
    assert set(one) == {x} and set(other) == {y}


def test_an_arrow_goes_round_a_note_that_is_in_its_way():
    notes = dict.fromkeys(diamond(), 1.0)
    arrows = {(a.xyann, a.xy): a.arrowprops["connectionstyle"] for a in sketch(("", notes)).figure.axes[0].texts
              if getattr(a, "arrowprops", None)}
    (place,) = places_of([("", notes, [])])
    x, w, h, square, out = notes
    assert arrows[place[h], place[out]] == "arc3,rad=-0.45"          # the square stands between them
    assert arrows[place[square], place[out]] == "arc3,rad=0"


def test_what_it_says_in_words():
    x, w, h, *_ = diamond()
    text = repr(sketch(("a plan", {w: None, x: 3.0, h: None}), ("run", {w: (2.0, -3.0), x: 3.0, h: 6.0}, {h})))
    assert text == ("a plan: w no number, x 3, × of w and x no number. "
                    "run: w 2 with gradient −3, x 3, × of w and x 6; new: × of w and x.")


def test_it_is_a_picture_in_as_many_lines_as_asked():
    x = Note("given", name="x")
    picture = sketch(("a", {x: 1.0}), ("b", {x: 2.0}), ("c", {x: 3.0}), columns=2)
    assert len(picture.figure.axes) == 4 and picture.png()[:4] == b"\x89PNG"


def test_strangers_are_refused():
    x, w, h, *_ = diamond()
    with pytest.raises(ArgumentError, match="a float is no note"):
        sketch(("", {1.0: 2.0}))
    with pytest.raises(ArgumentError, match="an input of a note is missing in its frame"):
        sketch(("", {h: 6.0, w: 2.0}))
    h.inputs = (h, w)
    with pytest.raises(ArgumentError, match="need each other"):
        sketch(("", {h: 6.0, w: 2.0}))
