"""The visual language: colours that everybody can read and tell apart, numbers, shapes, and SVG that is well formed."""
import itertools
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from minidl.viz import picture, theme
from minidl.viz.svg import Markup, arrow_head, curve, document, element, hatch, mark, shortened, text_width
from minidl.viz.theme import DARK, DASHES, KINDS, LIGHT, THEMES, css, diverging, number, numbers, sequential, sign_of

# How linear RGB looks to dichromats, at full strength (Machado, Oliveira and Fernandes, 2009).
EYES = {
    "all cones": np.eye(3),
    "deuteran": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                          [-0.011820, 0.042940, 0.968881]]),
    "protan": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                        [-0.003882, -0.048116, 1.051998]]),
    "tritan": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                        [0.004733, 0.691367, 0.303900]]),
}
TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                   [0.0193339, 0.1191920, 0.9503041]])
each_palette = pytest.mark.parametrize("palette", THEMES.values(), ids=THEMES)


def linear(colour):
    """Linear RGB of a hex colour."""
    c = np.array([int(colour[k:k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(a, b):
    """The contrast of WCAG: from 1, the same, to 21, black on white."""
    dark, light = sorted(float(linear(c) @ TO_XYZ[1]) for c in (a, b))
    return (light + 0.05) / (dark + 0.05)


def lab(rgb):
    """CIE L*a*b* of linear RGB, in the light of D65."""
    t = TO_XYZ @ np.clip(rgb, 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(a, b, eyes):
    """How far apart two colours are (CIE 1976) for these eyes."""
    return float(np.linalg.norm(lab(eyes @ linear(a)) - lab(eyes @ linear(b))))


def test_the_measures_know_what_is_known():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert distance("#000000", "#ffffff", EYES["all cones"]) == pytest.approx(100, abs=0.1)
    red, green = "#e06666", "#45a049"
    assert distance(red, green, EYES["deuteran"]) < 15 < 80 < distance(red, green, EYES["all cones"])


@each_palette
def test_text_can_be_read(palette):
    for text in (palette.ink, palette.muted):
        assert min(contrast(text, palette.paper), contrast(text, palette.panel)) >= 4.5
    for text in (palette.positive, palette.negative, palette.broken_text):
        assert contrast(text, palette.paper) >= 4.5
    assert contrast(palette.broken, palette.broken_paper) >= 4.5


@each_palette
def test_marks_can_be_seen(palette):
    for stroke in (palette.line, palette.positive, palette.negative, *palette.lanes):
        assert contrast(stroke, palette.paper) >= 3
    for stroke in (palette.line, palette.positive, palette.negative):
        assert contrast(stroke, palette.panel) >= 3


@each_palette
@pytest.mark.parametrize("eyes", EYES.values(), ids=EYES)
def test_the_signs_are_far_apart_for_all_eyes(palette, eyes):
    assert distance(palette.positive, palette.negative, eyes) >= 40


@each_palette
def test_lanes_are_apart_and_each_has_its_dash(palette):
    for eyes in EYES.values():
        assert min(distance(a, b, eyes) for a, b in itertools.combinations(palette.lanes, 2)) >= 10
    assert len(set(palette.lanes)) == len(palette.lanes) == len(DASHES) == len(set(DASHES))


def test_matplotlib_draws_with_the_same_colours():
    assert (picture.POSITIVE, picture.NEGATIVE, picture.BROKEN) == (LIGHT.positive, LIGHT.negative, LIGHT.broken)
    assert [colour for colour, _ in picture.LINES] == list(LIGHT.lanes)


def test_scales_run_from_paper_to_the_end():
    assert [diverging(x, 2.0) for x in (0, 2, -2, 99)] == [LIGHT.paper, *(c.lower() for c in (
        LIGHT.positive, LIGHT.negative, LIGHT.positive))]
    assert diverging(1.0, 2.0) not in (LIGHT.paper, LIGHT.positive.lower())
    assert (sequential(0, 1), sequential(1, 1), sequential(-1, 1)) == (LIGHT.paper, LIGHT.ink, LIGHT.paper)
    assert diverging(np.nan, 1.0) == sequential(np.inf, 1.0) == LIGHT.broken.lower()
    assert diverging(0.0, 0.0) == LIGHT.paper


# ---------------------------------------------------------------------- numbers
@pytest.mark.parametrize("x, text", [
    (0, "0"), (-3, "−3"), (123456, "123456"), (1.0, "1"), (-0.12345, "−0.123"), (1234.5, "1230"), (999999.0, "1e6"),
    (1.5e-7, "1.5e−7"), (-2.5e10, "−2.5e10"), (-0.0, "0"), (np.nan, "NaN"), (np.inf, "∞"), (-np.inf, "−∞"),
    (np.float32(0.1), "0.1"), (np.int8(-7), "−7"), (np.True_, "True"), (12345678, "1.23e7"), (123456.0, "123000"),
])
def test_a_number_in_words(x, text):
    assert number(x) == text


@pytest.mark.parametrize("array, text", [
    (2.0, "2"), ([1.0, -2.0], "[1, −2]"), ([[1, 2], [3, 4]], "[[1, 2], [3, 4]]"), (np.arange(-5.0, 6), "−5 … 5"),
    ([np.nan] * 6, "6 NaN"), (np.zeros(9), "all 0"),
    ([1.0] * 5 + [np.inf], "1 … 1, 1 ∞"), ([0, 1, np.inf, np.nan, 5, 6.5], "0 … 6.5, 1 NaN, 1 ∞"), ([], "no numbers"),
    ([True, False], "[True, False]"), (np.array(["a"]), "1 of <U1"),
])
def test_several_numbers_in_words(array, text):
    assert numbers(np.asarray(array)) == text


@pytest.mark.parametrize("array, sign", [(1.0, "positive"), ([0, -1], "negative"), (0, "zero"), ([-1, 1], "mixed"),
                                         ([1, np.nan], "broken"), (np.inf, "broken"), ([], "mixed")])
def test_the_sign_of_numbers(array, sign):
    assert sign_of(np.asarray(array)) == sign


# ---------------------------------------------------------------------- style sheet and SVG
@pytest.mark.parametrize("selector", [".minidl", "svg.minidl"])
def test_the_style_sheet_stays_below_its_selector(selector):
    sheet = css(selector)
    assert sheet.count("{") == sheet.count("}")
    assert all(selector in line for line in sheet.splitlines())
    for palette in (LIGHT, DARK):
        assert f"--md-ink: {palette.ink};" in sheet and f"--md-lane-5: {palette.lanes[5]};" in sheet
    assert "prefers-color-scheme: dark" in sheet and '[data-jp-theme-light="false"]' in sheet


def test_the_sheet_uses_no_variable_that_it_does_not_set():
    sheet = css()
    used = {part.partition(")")[0] for part in sheet.split("var(")[1:]}
    assert used and all(f"{name}:" in sheet for name in used)


def test_elements_escape_what_is_not_markup():
    text = element("text", 'a < "b" & c', x=1.50, font_size=13, class_="small", href='"><script>', hidden=False)
    assert text == ('<text x="1.5" font-size="13" class="small" href="&quot;&gt;&lt;script&gt;">'
                    'a &lt; "b" &amp; c</text>')
    assert element("g", text, None, 3) == f"<g>{text}3</g>"
    assert isinstance(text, Markup) and element("br") == "<br>" and element("p", hidden=True) == '<p hidden=""></p>'


@pytest.mark.parametrize("shape", [kind.shape for kind in KINDS.values()])
def test_every_kind_has_a_mark_of_its_own(shape):
    ET.fromstring(f"<g>{mark(shape, 0, 0, 60, 40)}</g>")
    others = {mark(kind.shape, 0, 0, 60, 40) for kind in KINDS.values() if kind.shape != shape}
    assert mark(shape, 0, 0, 60, 40) not in others and len(others) == len(KINDS) - 1
    assert len({kind.dot for kind in KINDS.values()}) == len(KINDS)


def test_a_document_is_well_formed_and_has_words():
    text = document(100, 50.5, hatch(), arrow_head(10, 10), element("path", d=curve([(0, 0), (50, 20)])),
                    title="a < b", desc="two & more", theme="dark")
    root = ET.fromstring(text)
    ns = "{http://www.w3.org/2000/svg}"
    assert root.get("viewBox") == "0 0 100 50.5" and root.get("data-theme") == "dark" and root.get("role") == "img"
    assert (root.find(f"{ns}title").text, root.find(f"{ns}desc").text) == ("a < b", "two & more")


def test_texts_are_measured_and_cut():
    assert text_width("mmm") > text_width("iii") and text_width("ab", 26) == 2 * text_width("ab", 13)
    assert shortened("short", 100) == "short"
    cut = shortened("a rather long text", 60)
    assert cut.endswith("…") and text_width(cut) <= 60


def test_nothing_is_smaller_than_eleven_pixels():
    assert min(theme.BODY, theme.SMALL) >= 11


def test_a_picture_carries_the_rules_that_it_uses_and_no_others():
    bare = str(document(9, 9, element("circle", r=1, class_="muted"), title="t", desc="d"))
    lanes = str(document(9, 9, element("path", d="M0,0", style="stroke: var(--md-lane-2)"), title="t", desc="d"))
    assert ".muted {" in bare and ".paper {" in bare and ".gradient {" not in bare and "--md-lane" not in bare
    assert lanes.count("--md-lane-2:") == css("svg.minidl").count("--md-lane-2:") and ".muted {" not in lanes
    assert set(re.findall(r"var\((--[\w-]+)\)", bare + lanes)) <= set(re.findall(r"(--[\w-]+):", bare + lanes))
