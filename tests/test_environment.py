"""What is promised about installing: one dependency, two descriptions of the rest that agree, light imports."""
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))

CONDA_NAMES = {"graphviz": "python-graphviz"}       # conda's `graphviz` is the program, not the Python package
CONDA_ONLY = {"python", "pip", "graphviz"}
HEAVY = ("matplotlib", "cupy", "torch", "IPython", "ipywidgets", "anywidget", "graphviz", "onnx")


def split(requirement):
    """`"cupy-cuda12x[ctk]>=14.0"` -> ("cupy-cuda12x", ">=14.0")."""
    name, bound = re.fullmatch(r"([\w.-]+)(?:\[\w+\])?\s*(.*)", requirement).groups()
    return name.lower(), bound


def requirements(*extras):
    """{name: bound} of the package itself and of its extras."""
    listed = PROJECT["dependencies"] + [r for extra in extras for r in PROJECT["optional-dependencies"][extra]]
    return dict(map(split, listed))


def python(code, *flags):
    """Run a piece of Python in a fresh process, warnings being errors; returns what it printed."""
    done = subprocess.run([sys.executable, "-W", "error", *flags, "-c", textwrap.dedent(code)],
                          capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_environment_yml_lists_what_pyproject_lists():
    wanted = {CONDA_NAMES.get(name, name): bound for name, bound in requirements("lab", "test").items()}
    listed = dict(split(line) for line in CONDA["dependencies"] if isinstance(line, str))
    assert {name: bound for name, bound in listed.items() if name not in CONDA_ONLY} == wanted
    assert listed["python"] == PROJECT["requires-python"]
    assert CONDA["name"] == PROJECT["name"]


def test_make_test_judge_runs_every_file_with_attacks_on_the_judge():
    """The unit tests leave out what is marked `judge`; nobody else would notice a file that its target forgot."""
    recipe = re.search(r"^test-judge: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)[1]
    marked = {path.name for path in (ROOT / "tests").glob("test_*.py") if "mark." + "judge" in path.read_text("utf-8")}
    assert set(re.findall(r"tests/(\w+\.py)", recipe)) == marked


def test_an_extra_never_says_another_bound_than_its_neighbour():
    extras = PROJECT["optional-dependencies"].values()
    pairs = {split(requirement) for extra in extras for requirement in extra}
    assert len(pairs) == len({name for name, _ in pairs})


def test_only_lower_bounds():
    everything = requirements(*PROJECT["optional-dependencies"])
    assert all(re.fullmatch(r">=\d+(\.\d+)*", bound) for bound in everything.values()), everything


def test_numpy_is_the_one_dependency():
    assert [split(r)[0] for r in PROJECT["dependencies"]] == ["numpy"]


def test_imports_with_numpy_alone():
    python("""
        import sys

        class Bare:
            "An installation in which there is nothing but Python, NumPy and minidl."

            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] not in {*sys.stdlib_module_names, "numpy", "minidl"}:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Bare())
        import minidl
        import minidl.cli
        import minidl.doctor
        assert minidl.__doc__, "minidl/__init__.py is missing"
        assert "optional, missing" in str(minidl.doctor.doctor())
    """)


@pytest.mark.parametrize("name", HEAVY)
def test_import_is_light(name, loaded_by_minidl):
    assert name not in loaded_by_minidl


@pytest.fixture(scope="module")
def loaded_by_minidl():
    """The top-level modules that are there after `import minidl`."""
    return set(python("import minidl, sys; print(*{name.split('.')[0] for name in sys.modules})").split())


def test_the_taste_of_the_readme_runs():
    (taste,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert len(taste.strip().splitlines()) <= 12
    python(taste)


def test_what_a_first_lesson_does_not_need_is_loaded_when_it_is_asked_for():
    said = python("""
        import sys
        import minidl as md
        print([name for name in ("graph", "func", "data", "viz") if f"minidl.{name}" in sys.modules])
        assert {"graph", "func", "data", "viz", "compile"} <= set(dir(md))
        assert md.compile is md.graph.compile and md.data.DataLoader and md.func.vmap
        from minidl import compile
        print([name for name in ("graph", "func", "data") if f"minidl.{name}" in sys.modules])
    """)
    assert said.split("\n")[:2] == ["[]", "['graph', 'func', 'data']"]


def test_a_name_that_the_package_does_not_have_says_so():
    said = python("""
        import minidl
        try:
            minidl.compiler
        except AttributeError as error:
            print(error)
    """)
    assert said == "module 'minidl' has no attribute 'compiler'\n"
