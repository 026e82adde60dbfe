"""The pictures of training and of what was learned: their words, and what is drawn, are what the numbers are."""
import numpy as np
import pytest
from matplotlib.colors import to_hex

import minidl as md
from minidl.errors import ArgumentError, ShapeError
from minidl.viz import picture, plots

DIGITS = np.arange(3 * 4 * 5.0).reshape(3, 4, 5)


def drawn(shown):
    """The arrays in a picture, in order, those of hidden axes left out."""
    return [ax.images[0].get_array() for ax in shown.figure.axes if ax.get_visible() and ax.images]


def words(ax):
    """All texts on a pair of axes."""
    return [text.get_text() for text in ax.texts]


# ---------------------------------------------------------------------- what all have in common
PICTURES = {
    "images": lambda: plots.images(DIGITS, titles=[3, 1, 4]),
    "curves": lambda: plots.curves({"train loss": [2.0, 1.0], "validation loss": [1.5, 1.2]}),
    "confusion": lambda: plots.confusion([0, 1, 1], [0, 0, 1], "ab"),
    "mistakes": lambda: plots.mistakes(DIGITS, [0, 1, 0], [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]),
    "filters": lambda: plots.filters(DIGITS.reshape(3, 1, 4, 5) - 20),
    "feature_maps": lambda: plots.feature_maps({"one": DIGITS, "two": DIGITS - 9}),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_shows_itself_with_a_sentence(name):
    bundle = PICTURES[name]()._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG") and len(bundle["image/png"]) < 60_000
    assert bundle["text/plain"].endswith(".") and len(bundle["text/plain"]) > 40


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_numbers_give_the_same_picture(name):
    assert PICTURES[name]().png() == PICTURES[name]().png()


def test_tensors_that_want_gradients_are_drawn_too():
    w = md.tensor(DIGITS[:, None], requires_grad=True)
    assert plots.filters(w).alt == plots.filters(DIGITS[:, None]).alt
    assert plots.images(w * 1).alt == plots.images(DIGITS).alt


# ---------------------------------------------------------------------- images
def test_images_are_drawn_on_one_scale_with_their_titles():
    shown = plots.images(DIGITS[:, None], titles=md.tensor([3, 1, 4]))
    assert shown.alt == "3 pictures of 4 x 5 pixels, dark where the number is large: 3, 1 and 4."
    assert np.array_equal(drawn(shown), DIGITS)
    assert {ax.images[0].get_clim() for ax in shown.figure.axes} == {(0.0, 59.0)}
    assert [ax.get_title() for ax in shown.figure.axes] == ["3", "1", "4"]


def test_images_hide_the_places_that_are_left_over():
    shown = plots.images(DIGITS, columns=2)
    assert [ax.get_visible() for ax in shown.figure.axes] == [True, True, True, False]


def test_one_image_of_one_shade_is_drawn():
    assert plots.images(np.ones((4, 5))).alt.startswith("1 picture of 4 x 5 pixels")


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4, 5), (0, 4, 5)])
def test_what_is_not_a_batch_of_grey_images_is_refused(shape):
    with pytest.raises(ShapeError, match="grey"):
        plots.images(np.zeros(shape))


def test_a_title_too_many_is_refused():
    with pytest.raises(ArgumentError, match="title"):
        plots.images(DIGITS, titles=[1, 2, 3, 4])


# ---------------------------------------------------------------------- curves
HISTORY = {"train loss": [3.0, 2.0, 1.0, 1.0, 0.6, 0.5, 0.4, 0.5], "validation loss": [1.0, 1.25],
           "validation accuracy": [0.5, 0.75]}


@pytest.mark.parametrize("one, two", [("epoch", "2 epochs"), ("batch", "2 batches"), ("mistake", "2 mistakes")])
def test_two_of_a_kind(one, two):
    assert plots.plural(2, one) == two and plots.plural(1, one) == f"1 {one}"


def test_marks_stand_upright_in_every_panel_and_are_told():
    history = {"train loss": [3.0, 2.0, 1.0, 1.5], "validation accuracy": [0.1, 0.2, 0.3, 0.2]}
    picture = plots.curves(history, marks={"kept": 3, "stopped": 4})
    assert repr(picture).startswith("Loss over 4 epochs: train from 3 to 1.5")
    assert repr(picture).endswith("Marked: kept at epoch 3 and stopped at epoch 4.")
    for ax in picture.figure.axes:
        upright = [line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1]
        assert upright == [3, 4] and {"kept", "stopped"} <= set(words(ax))
        kept, stopped = (text for text in ax.texts if text.get_text() in ("kept", "stopped"))
        assert kept.get_position()[1] > stopped.get_position()[1] and stopped.get_ha() == "right"
    assert "Marked" not in repr(plots.curves(history))


def test_curves_are_told_by_kind_with_their_best_epoch():
    assert plots.curves(HISTORY).alt == (
        "Loss over 2 epochs: train from 3 to 0.5; validation from 1 to 1.25, lowest in epoch 1. "
        "Accuracy over 2 epochs: validation from 0.5 to 0.75, highest in epoch 2.")


def test_a_list_with_a_number_for_each_batch_is_spread_over_the_epochs():
    loss, accuracy = plots.curves(HISTORY).figure.axes
    pale, train, validation = loss.lines
    assert np.allclose(pale.get_xdata(), np.arange(1, 9) / 4) and np.allclose(pale.get_ydata(), HISTORY["train loss"])
    assert np.allclose(validation.get_xdata(), [1, 2]) and np.allclose(validation.get_ydata(), [1.0, 1.25])
    assert (loss.get_title(), accuracy.get_title()) == ("loss", "accuracy")


def test_lines_differ_in_dash_and_carry_their_names_apart():
    loss, _ = plots.curves({**HISTORY, "train loss": [1.0, 1.25]}).figure.axes
    assert words(loss) == ["train", "validation"]
    assert len({line.get_linestyle() for line in loss.lines}) == 2
    heights = [text.get_position()[1] for text in loss.texts]
    assert abs(heights[0] - heights[1]) > 0.06          # the lines end in one point, their names do not


@pytest.mark.parametrize("log", [False, True])
def test_labels_stand_where_the_lines_end(log):
    loss = plots.curves({"a loss": [1000.0, 1.0], "b loss": [10.0, 1000.0]}, log=log).figure.axes[0]
    assert [text.get_position()[1] for text in loss.texts] == pytest.approx([0.045, 0.955], abs=0.01)


def test_the_mean_line_is_smoother_than_the_batches():
    values = np.random.default_rng(0).random(200)
    loss = plots.curves({"train loss": values, "validation loss": [1, 1]}).figure.axes[0]
    raw, smooth, _ = (line.get_ydata() for line in loss.lines)
    assert np.std(smooth) < np.std(raw) / 3 and np.isclose(smooth[100], raw[88:113].mean())


def test_a_loss_that_breaks_is_said():
    assert "train no longer a finite number from epoch 2 on" in plots.curves({"train loss": [1.0, np.nan, 2.0]}).alt


def test_another_unit_is_used_everywhere():
    shown = plots.curves({"train loss": [1.0, 2.0, 0.5]}, unit="step")
    assert "over 3 steps" in shown.alt and "in step 3" in shown.alt and shown.figure.axes[0].get_xlabel() == "step"


def test_no_history_is_refused():
    with pytest.raises(ArgumentError, match="nothing"):
        plots.curves({"train loss": []})


# ---------------------------------------------------------------------- confusion
TRUTH, GUESS = [0, 0, 1, 1, 1, 2, 2, 2, 2], [0, 1, 1, 2, 2, 2, 2, 2, 0]


def test_pairs_are_counted_truth_by_answer():
    counts = plots.count_pairs(np.array(TRUTH), np.array(GUESS), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 2], [1, 0, 3]]


def test_confusion_names_the_pairs_confused_most():
    assert plots.confusion(md.tensor(TRUTH), np.array(GUESS), ["cat", "dog", "owl"]).alt == (
        "Confusion matrix of 9 answers, 5 of them right (55.6 %). "
        "Most confused: dog taken for owl, 2 times; cat taken for dog, 1 time; owl taken for cat, 1 time.")


def test_confusion_shades_mistakes_only_and_writes_every_count():
    shown = plots.confusion(TRUTH, GUESS, "abc")
    assert drawn(shown)[0].tolist() == [[0, 1, 0], [0, 0, 2], [1, 0, 0]]
    assert words(shown.figure.axes[0]) == ["1", "1", "·", "·", "1", "2", "1", "·", "3"]


def test_confusion_without_mistakes_names_none():
    assert plots.confusion([0, 1], [0, 1], "ab").alt == "Confusion matrix of 2 answers, 2 of them right (100 %)."


@pytest.mark.parametrize("truth, guess, error", [([0, 1], [0], ShapeError), ([0, 3], [0, 1], ArgumentError),
                                                 ([0, -1], [0, 1], ArgumentError), ([0.0, 1.0], [0, 1], ArgumentError)])
def test_confusion_refuses_what_it_cannot_count(truth, guess, error):
    with pytest.raises(error, match="confusion"):
        plots.confusion(truth, guess, "abc")


# ---------------------------------------------------------------------- mistakes
P = np.array([[0.7, 0.2, 0.1], [0.5, 0.1, 0.4], [0.3, 0.3, 0.4], [0.0, 0.1, 0.9]])


def test_the_worst_mistake_left_least_for_the_truth():
    shown = plots.mistakes(np.arange(4)[:, None, None] * np.ones((4, 2, 2)), [0, 1, 0, 0], P, ["cup", "egg", "hat"])
    assert shown.alt == ("The 3 worst of 3 mistakes in 4: a cup taken for a hat (90 %, 0 % for the truth); "
                         "an egg taken for a cup (50 %, 10 % for the truth); "
                         "a cup taken for a hat (40 %, 30 % for the truth).")
    assert [int(plane[0, 0]) for plane in drawn(shown)] == [3, 1, 2]


def test_beside_a_mistake_stand_its_probabilities_the_truth_hatched():
    ax = plots.mistakes(np.ones((4, 2, 2)), [0, 1, 0, 0], P).figure.axes[3]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "2", "1"]
    assert [bar.get_width() for bar in ax.patches] == [0.5, 0.4, 0.1]
    assert [bar.get_hatch() for bar in ax.patches] == [None, None, "////"]


def test_the_truth_is_among_the_bars_however_unlikely():
    p = np.full((1, 10), 0.1) + 0.01 * np.arange(10)
    ax = plots.mistakes(np.ones((1, 2, 2)), [0], p).figure.axes[1]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["9", "8", "7", "6", "0"]


def test_a_probability_that_is_not_one_does_not_look_like_it():
    ax = plots.mistakes(np.ones((1, 2, 2)), [0], [[0.001, 0.999]]).figure.axes[1]
    assert words(ax) == ["> 99 %", "< 1 %"]


def test_no_more_mistakes_than_asked_for():
    shown = plots.mistakes(np.ones((4, 2, 2)), [0, 1, 0, 0], P, count=1)
    assert shown.alt.startswith("The 1 worst of 3 mistakes") and len(drawn(shown)) == 1


def test_no_mistake_is_said_too():
    shown = plots.mistakes(DIGITS, [0, 0, 0], np.tile([0.9, 0.1], (3, 1)))
    assert shown.alt == "No mistake in 3 answers." and shown.png()


def test_mistakes_refuse_a_picture_too_few():
    with pytest.raises(ShapeError, match="equally many"):
        plots.mistakes(DIGITS, [0, 1], P)


# ---------------------------------------------------------------------- what was learned
def test_filters_share_one_scale_around_zero():
    w = np.array([[1.0, -2.0], [0.5, 0.0]]).reshape(2, 1, 1, 2)
    shown = plots.filters(w)
    assert shown.alt == ("2 filters of 1 x 2 for 1 channel: 50 % of the weights are positive (blue), "
                         "the largest is 2 in size.")
    images = [ax.images[0] for ax in shown.figure.axes if ax.images]
    assert {image.get_clim() for image in images} == {(-2.0, 2.0)}
    ends = [to_hex(images[0].cmap(end)).upper() for end in (0.0, 1.0)]
    assert ends == [picture.NEGATIVE, picture.POSITIVE]


def test_negative_weights_are_hatched_as_well():
    ax = plots.filters(np.array([[[[1.0, -2.0, -1.0], [-0.5, 0.0, 2.0]]]])).figure.axes[0]
    (hatched,) = ax.collections
    corners = sorted(path.vertices[0].tolist() for path in hatched.get_paths())
    assert hatched.get_hatch() and corners == [[-0.5, 0.5], [0.5, -0.5]]


def test_what_has_no_colour_has_no_hatch():
    ax = plots.filters(np.array([[[[2.0, -0.03, 0.0, -0.05]]]])).figure.axes[0]
    (hatched,) = ax.collections
    assert [path.vertices[0].tolist() for path in hatched.get_paths()] == [[2.5, -0.5]]


def test_filters_of_many_channels_stand_in_rows_and_say_what_is_left_out():
    shown = plots.filters(np.ones((5, 4, 2, 2)), rows=2, channels=3)
    assert "5 filters of 2 x 2 for 4 channels, 2 filters and 3 channels of them shown" in shown.alt
    assert len(drawn(shown)) == 6


@pytest.mark.parametrize("function", [plots.filters, plots.feature_maps])
def test_other_shapes_are_refused(function):
    with pytest.raises(ShapeError, match="expected the"):
        function(np.zeros((3, 4)))


@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_long_heading_over_few_maps_stays_in_the_picture(count):
    name = "after the second convolution and relu"
    figure = plots.feature_maps({name: np.ones((count, 4, 4))}).figure
    figure.canvas.draw()                                    # a layout that finds no room would warn, which is an error
    (heading,) = figure.axes[0].texts
    assert heading.get_text().startswith(name) and heading.get_window_extent().x1 <= figure.bbox.x1
    assert sum(bool(ax.images) for ax in figure.axes) == count


def test_feature_maps_tell_every_layer():
    relu = np.stack([np.eye(2), np.zeros((2, 2)), 4 * np.eye(2)])
    shown = plots.feature_maps({"relu": md.tensor(relu[None]), "raw": relu - 1}, first=2)
    assert shown.alt == ("Feature maps of one picture. relu: 3 maps of 2 x 2, the first 2 shown, 33.3 % of the numbers "
                         "above 0, the largest 4. raw: 3 maps of 2 x 2, the first 2 shown, from -1 to 3.")
    assert np.array_equal(drawn(shown), [*relu[:2], *(relu[:2] - 1)])
    assert words(shown.figure.axes[0]) == ["relu   3 x 2 x 2"]


def test_feature_maps_at_or_above_zero_start_with_paper_and_others_are_centred():
    figure = plots.feature_maps({"a": DIGITS[:1], "b": DIGITS[:1] - 9}).figure
    above, signed = (ax.images[0] for ax in figure.axes if ax.images)
    assert above.get_clim() == (0, 19) and to_hex(above.cmap(0.0)) == picture.PAPER
    assert signed.get_clim() == (-10, 10) and min(signed.cmap(0.5)) > 0.99


def test_one_layer_needs_no_name():
    assert plots.feature_maps(DIGITS).alt.startswith("Feature maps of one picture. 3 maps of 4 x 5, ")


def test_what_is_not_a_number_has_a_colour_of_its_own():
    image = drawn(plots.feature_maps(np.where(DIGITS == 7, np.nan, DIGITS)))[0]
    assert image.mask.sum() == 1 and to_hex(plots.shades("white", "black")(np.ma.masked)) == plots.BROKEN.lower()
