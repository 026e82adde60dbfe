"""The pages for readers of the source say what the source says."""
import doctest
import re
from pathlib import Path

import pytest

from minidl.primitive import registry

ROOT = Path(__file__).resolve().parents[1]
SOURCE = {path: path.read_text(encoding="utf-8") for path in (ROOT / "minidl").rglob("*.py")}
PAGES = [ROOT / "docs" / name for name in ("how_an_op_works.md", "design_opinions.md", "graphs.md", "pictures.md")]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def blocks(page):
    """The Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


def failures(text, name="page"):
    """What the examples in a text print that they should not."""
    report = []
    test = doctest.DocTestParser().get_doctest(text, {"__name__": "page"}, name, name, 0)
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=report.append)
    return "".join(report)


def quoted(block):
    """True if a block stands in the source, letter by letter."""
    return any(block in text for text in SOURCE.values())


def unknown_names(text):
    """Names between backticks that occur nowhere in the source, and files that do not exist."""
    words = set(re.findall(r"\w+", "\n".join(SOURCE.values())))
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    files = {span for span in spans if span.endswith(".py")}
    names = {word for span in set(spans) - files for word in re.findall(r"[A-Za-z_]\w+", span)}
    return {f for f in files if not list(ROOT.glob(f"**/{Path(f).name}"))} | (names - words)


@pytest.fixture
def _registry_as_before():
    """A page may define ops of its own; nobody else shall meet them."""
    before = dict(registry)
    yield
    registry.clear(), registry.update(before)


@every_page
@pytest.mark.usefixtures("_registry_as_before")
def test_the_examples_of_a_page_run(page):
    report = failures("\n".join(block for block in blocks(page) if ">>>" in block), page.name)
    assert not report, report


@every_page
def test_code_that_is_quoted_stands_in_the_source(page):
    for block in blocks(page):
        assert ">>>" in block or quoted(block), block


@every_page
def test_names_on_a_page_exist(page):
    assert unknown_names(page.read_text(encoding="utf-8")) == set()


def test_the_tests_of_this_file_can_fail():
    assert "Expected:\n    3" in failures(">>> 1 + 1\n3\n")
    assert not quoted("def tanh(xp, x):\n    return x\n")
    page = "`Tensor.tanhh` in `minidl/tensors.py`, ```python\nnowhere```, `xp`"
    assert unknown_names(page) == {"tanhh", "minidl/tensors.py"}
