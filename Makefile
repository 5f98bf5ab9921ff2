PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What pip does for a package that is not editable.
COMPILE = $(BIN)/python -m compileall -q paretosim

.DEFAULT_GOAL := help
.PHONY: help demo test lint accuracy support studies wheel clean

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

accuracy: $(VENV)/.installed  ## rewrite the tables of docs/accuracy.md
	$(BIN)/python docs/accuracy.py

support: $(VENV)/.installed  ## rewrite docs/support.md
	$(BIN)/python docs/support.py

studies: $(VENV)/.installed  ## rewrite the tables of docs/studies.md
	$(BIN)/python docs/studies.py

wheel: $(VENV)/.installed-test  ## build a wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove the environment and all that was built
	rm -rf $(VENV) dist build runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
