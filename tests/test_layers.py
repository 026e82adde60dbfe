"""The table of layers in minidl's docstring, and what happens to a module that ignores it."""
import ast
import importlib.util
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("check_layers", ROOT / "tools" / "check_layers.py")
check_layers = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(check_layers)

INIT = '''\
"""A package.

Layers
  0  errors backend
  1  tensor
  5  functions nn.functional
  6  nn optim
  9  doctor cli

Not part of the table.
"""
from . import cli, tensor
'''


@pytest.fixture
def plant(tmp_path):
    """A function that writes one module into a small lawful tree and returns what the check says."""

    def plant(name, code):
        files = {"__init__.py": INIT, "errors.py": "", "backend.py": "from .errors import X", "tensor.py": "import os",
                 "nn/__init__.py": "from . import functional, layers", "nn/functional.py": "from ..tensor import T",
                 "nn/layers.py": "from minidl.nn import functional\nfrom .module import Module", "nn/module.py": "",
                 "doctor.py": "", "cli.py": "from .doctor import doctor", name: code}
        for file, text in files.items():
            path = tmp_path / "minidl" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
        return [line.removeprefix(f"{tmp_path / 'minidl'}/") for line in check_layers.check(tmp_path)]

    return plant


def test_the_real_package_keeps_the_table(capsys):
    assert check_layers.main() == 0, capsys.readouterr().out


def test_a_lawful_tree_passes(plant, tmp_path, capsys):
    assert plant("optim.py", "from .nn.functional import relu\nimport numpy as np") == []
    assert check_layers.main(str(tmp_path)) == 0
    assert "points upwards" in capsys.readouterr().out


@pytest.mark.parametrize("code", [
    "from .nn import Module",
    "import minidl.nn.module",
    "from minidl.nn.module import Module",
    "def f():\n    from minidl import nn",
    "if True:\n    from . import nn as friends",
])
def test_an_import_from_below_is_found_in_every_spelling(plant, code):
    (offence,) = plant("tensor.py", code)
    last = len(code.splitlines())
    assert offence.startswith(f"tensor.py:{last}: tensor (line 1) imports nn (line 6): move the code")


def test_functional_stands_above_the_rest_of_nn(plant):
    (offence,) = plant("nn/functional.py", "from .module import Module")
    assert "nn.functional (line 5) imports nn (line 6)" in offence


def test_siblings_do_not_know_each_other(plant):
    (offence,) = plant("optim/sgd.py", "import os\nfrom ..nn import Module")
    assert offence.startswith("optim/sgd.py:2: optim imports nn, beside it on line 6")


def test_a_line_is_read_from_left_to_right(plant):
    (offence,) = plant("errors.py", "from . import backend")
    assert offence.startswith("errors.py:1: errors imports backend, beside it on line 0")


def test_a_module_without_a_place_is_an_offence(plant):
    (offence,) = plant("helpers.py", "")
    assert offence == "helpers.py:1: helpers is not in the table of layers; give it a line in minidl/__init__.py"


@pytest.mark.parametrize("code", ["import minidl", "from minidl import Tensor", "from . import Tensor"])
def test_the_package_as_a_whole_is_not_for_its_own_modules(plant, code):
    (offence,) = plant("cli.py", code)
    assert "name the module that is meant" in offence


def test_a_missing_table_is_said(plant):
    with pytest.raises(SystemExit, match="no line `Layers`"):
        plant("__init__.py", '"""A package."""')


def test_offences_end_with_status_1(plant, tmp_path, capsys):
    plant("tensor.py", "from . import nn")
    assert check_layers.main(str(tmp_path)) == 1
    assert "tensor.py:1" in capsys.readouterr().out


def twice(path):
    """Functions and classes that a scope of a file defines twice; `_` and the setters of properties may be."""
    for scope in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        inside = scope.body if isinstance(getattr(scope, "body", None), list) else []
        body = [x for x in inside if isinstance(x, (ast.FunctionDef, ast.ClassDef))]
        names = [x.name for x in body if not any(".setter" in ast.unparse(d) for d in x.decorator_list)]
        yield from (f"{path.name}: {name}" for name in set(names) - {"_"} if names.count(name) > 1)


def test_nothing_is_defined_twice_in_one_place(tmp_path):
    found = [text for path in sorted((ROOT / "minidl").rglob("*.py")) for text in twice(path)]
    assert found == []
    planted = tmp_path / "planted.py"
    planted.write_text("def f():\n    def g(): pass\n    def g(): pass\ndef _(): pass\ndef _(): pass\n")
    assert list(twice(planted)) == ["planted.py: g"]
