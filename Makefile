PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What pip does for a package that is not editable.
COMPILE = $(BIN)/python -m compileall -q paretosim

.DEFAULT_GOAL := help
.PHONY: help demo test lint lowest accuracy support studies notebooks wheel clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "paretosim needs Python 3.11 or newer; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	$(COMPILE)
	@touch $@

$(VENV)/.installed-test: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	$(COMPILE)
	@touch $@ $(VENV)/.installed

demo: $(VENV)/.installed  ## install into .venv and sweep the quickstart scenario
	$(BIN)/paretosim sweep scenarios/quickstart.yaml

test: lint  ## install with the test extra, check style and types, run the tests
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.installed-test  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

LOWEST := .venv-lowest

$(LOWEST)/.installed: pyproject.toml tests/lowest/pins.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
	  { echo "the lowest versions have wheels for Python 3.11 and 3.12 only; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python tests/lowest/pins.py > $(LOWEST)/pins.txt
	$(LOWEST)/bin/python -m pip install --quiet --no-compile --only-binary :all: --requirement $(LOWEST)/pins.txt
	@touch $@

lowest: $(LOWEST)/.installed  ## sweep, simulate and validate with the lowest declared version of every dependency
	PYTHONPATH=. $(LOWEST)/bin/python tests/lowest/smoke.py

accuracy: $(VENV)/.installed  ## rewrite the tables of docs/accuracy.md
	$(BIN)/python docs/accuracy.py

support: $(VENV)/.installed  ## rewrite docs/support.md
	$(BIN)/python docs/support.py

studies: $(VENV)/.installed  ## rewrite the tables of docs/studies.md
	$(BIN)/python docs/studies.py

notebooks: $(VENV)/.installed-test  ## run the notebooks and keep what they show
	$(BIN)/python notebooks/execute.py

wheel: $(VENV)/.installed-test  ## build a wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove the environment and all that was built
	rm -rf $(VENV) $(LOWEST) dist build runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
