# One word per wish. `make demo` and `make test` set up everything themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test check fix docs clean bench-answers bench-embedder bench-engine bench-fit bench-hub bench-knowledge bench-parsing bench-store bench-tuning bench-weights

demo: $(VENV)/.demo ## build the sample recipe, ask it three questions, keep serving it
	$(BIN)/baigong demo $(ARGS)

test: $(VENV)/.dev ## every test that needs no GPU and no network
	$(BIN)/pytest $(ARGS)

check: $(VENV)/.dev ## format, lint, types, layers, docs drift, then the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/docs.py --check
	$(MAKE) test

fix: $(VENV)/.dev ## mend format, lint and generated docs
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python scripts/docs.py

docs: $(VENV)/.dev ## write what is generated from the code
	$(BIN)/python scripts/docs.py

bench-answers bench-embedder bench-engine bench-fit bench-hub bench-knowledge bench-parsing bench-store bench-tuning bench-weights: bench-%: $(VENV)/.dev ## one benchmark beside its peers
	$(BIN)/python -m bench.$* $(ARGS)

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Baigong needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV) (a few minutes the first time) ..."
	$(PIP) --constraint constraints.txt torch
	$(PIP) --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) --constraint constraints.txt --editable '.[dev]'
	touch $@
