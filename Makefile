# minidl: one place for every command. `make` alone lists them.
# Paths are relative on purpose: make splits names at spaces, and a checkout may live in "My Courses".

PYTHON ?= python3
ARGS   ?=
PY     := .venv/bin/python
PYTEST := $(PY) -m pytest
# Cuts the network off where the machine allows it, and says whether it did.
OFFLINE := $(PY) tools/offline.py
WORKERS ?= 2

# A test that hangs fails by its name, and its worker is not replaced: a new one would begin with the same test.
LIMIT   := --timeout=400 --timeout-method=thread --max-worker-restart=0
UNIT    := -p xdist.plugin -n $(WORKERS) -p pytest_timeout $(LIMIT) --ignore=tests/browser

# Rewritten tests and compiled modules are kept: without that, each of some hundred processes compiles its own.
unexport PYTHONDONTWRITEBYTECODE

LESSONS := $(wildcard notebooks/*.ipynb)
NBVAL   := $(LIMIT) -p tests.nbval_ipc --nbval --nbval-current-env --nbval-cell-timeout=300 \
           --nbval-sanitize-with tests/nbval_sanitize.cfg

NBVAL_RUN := $(subst --nbval ,--nbval-lax ,$(NBVAL))

.DEFAULT_GOAL := help
.PHONY: help lab test check check-style check-types check-layers check-notebooks check-exercises \
        test-unit test-more test-doctests test-notebooks test-browser test-judge test-long notebooks exercises bench \
        clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile

lab: .venv/.lab  ## open the course in JupyterLab; ARGS="--no-browser --port 8899" go to Jupyter
	$(PY) -m minidl lab $(ARGS)

test: test-unit test-doctests test-notebooks  ## everything quick: unit tests, doctests, lessons

check: check-style check-types check-layers check-notebooks check-exercises  ## all that needs no run (-k: all faults at once)

check-style: .venv/.test  ## ruff, on code and lessons
	$(PY) -m ruff check .

check-types: .venv/.test  ## mypy
	$(PY) -m mypy

check-layers: .venv/.test  ## who may import whom
	$(PY) tools/check_layers.py

check-notebooks: .venv/.test  ## the lessons at rest
	$(PY) tools/lint_notebooks.py

check-exercises: .venv/.test  ## whether exercises/ is what solutions/ gives
	$(PY) tools/make_exercises.py --check

# The workers fill the cores already; threads inside the matrix products would only get in each other's way.
# A plugin that nobody named would be read by each worker: nbval and what it brings take as long as 2,000 tests.
# A file's tests stay together: they share what was computed or compiled once (ARGS="--dist load" spreads one file).
test-unit test-more: export OMP_NUM_THREADS ?= 1
test-unit test-more: export PYTEST_DISABLE_PLUGIN_AUTOLOAD := 1
test-unit: .venv/.test  ## the unit tests (ARGS="-k conv2d" for some of them)
	$(OFFLINE) $(PYTEST) $(UNIT) --dist loadfile $(ARGS)

test-more: .venv/.test  ## the rest of the large grids and of the random programs, of which test-unit takes a sample
	$(OFFLINE) $(PYTEST) $(UNIT) -m "more and not slow" $(ARGS)

test-doctests: .venv/.test  ## the examples in the docstrings
	$(OFFLINE) $(PYTEST) $(LIMIT) --doctest-modules minidl --ignore=minidl/kernels/numba_kernels.py

# Two kernels on two cores: a second BLAS thread would only wait for the first, and a busy machine makes that wait long.
test-notebooks: export OMP_NUM_THREADS ?= 1
# Nobody's own progress is touched; in a solution, a check that does not pass is an error.
test-notebooks notebooks: export MINIDL_PROGRESS := off
test-notebooks: .venv/.test  ## run every lesson, twice and in an odd place, and compare with what is stored; run solutions and exercises
ifeq ($(LESSONS),)
	@echo "notebooks/ holds no lesson yet"
else
	$(OFFLINE) $(PY) tools/odd_place.py $(PYTEST) -n $(WORKERS) --dist loadfile $(NBVAL) notebooks
	MINIDL_CHECK_RAISES=1 $(OFFLINE) $(PYTEST) -n $(WORKERS) --dist loadfile $(NBVAL_RUN) solutions
	$(OFFLINE) $(PYTEST) -n $(WORKERS) --dist loadfile $(NBVAL_RUN) exercises
endif

# Each worker that opens JupyterLab pays for its start, so a file's tests stay together.
test-browser: export OMP_NUM_THREADS ?= 1
test-browser: export MINIDL_PROGRESS := off
test-browser: .venv/.browser  ## the widgets in JupyterLab and in a page, in a real browser (SHOTS=folder keeps pictures)
	$(PY) tools/chromium.py $(OFFLINE) $(PYTEST) $(LIMIT) -m browser -n $(WORKERS) --dist loadfile $(ARGS) tests/browser

# Not cut off from the network by us: in such a namespace no other can be made, and the boxes have none anyway.
test-judge: export OMP_NUM_THREADS ?= 1
test-judge: .venv/.test  ## the judge under attack, in the strongest box to be had here; its workers and its writers killed
	$(PY) tools/bubblewrap.py $(PYTEST) $(LIMIT) -m "not slow" -n $(WORKERS) $(ARGS) tests/test_judge_battery.py \
	    tests/test_judge_sandbox.py tests/test_judge_proof.py tests/test_judge_gradebook.py tests/test_judge_run.py

test-long: .venv/.test  ## the tests marked slow
	$(OFFLINE) $(PYTEST) -m slow $(ARGS)

notebooks: export OMP_NUM_THREADS ?= 1
notebooks: .venv/.test  ## run every lesson and store its fresh outputs (ARGS=notebooks/01_tensors.ipynb for one)
	$(OFFLINE) $(PY) tools/run_notebooks.py $(ARGS)

exercises: .venv/.test  ## make exercises/ from solutions/; what somebody has worked in is left alone
	$(PY) tools/make_exercises.py

bench: .venv/.test  ## minidl beside its peers (ARGS="--write docs/benchmarks.md" for the page of results)
	$(PY) -m benchmarks $(ARGS)

clean:  ## remove the virtual environment and every cache
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -type d -prune -exec rm -rf {} +

# --- the environment: pip runs only when pyproject.toml is newer than the stamp ------------------------------------

OLD := the Python named by PYTHON ($(PYTHON)) is missing or older than 3.11: install Python 3.11 or newer, \
then say e.g. make PYTHON=python3.12

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "minidl: $(OLD)" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.lab: pyproject.toml | $(PY)
	$(PY) -m pip install --quiet --disable-pip-version-check -e ".[lab]"
	@touch $@

.venv/.test: pyproject.toml | $(PY)
	$(PY) -m pip install --quiet --disable-pip-version-check -e ".[lab,test]"
	@touch $@ .venv/.lab

# Where playwright has no package for the machine, tools/chromium.py says so and the browser tests are left out.
.venv/.browser: pyproject.toml | .venv/.test
	-$(PY) -m pip install --quiet --disable-pip-version-check -e ".[lab,test,browser]" && touch $@
