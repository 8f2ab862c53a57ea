# One command a habit. `make test` sets up all it needs in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup fmt lint type test test-hosts bench demo-model docs-options clean

setup: $(BIN)/installed

$(BIN)/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

fmt: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

type: setup
	$(BIN)/mypy

test: setup
	$(BIN)/python -m pytest

# The hosts in other languages; needs Node, for Kotlin a JDK and Maven. Says what it could not run.
test-hosts:
	runtimes/run_tests

# Absolute times are this machine's; `--help` and benchmarks/conftest.py say what can be measured.
bench: setup
	$(BIN)/python -m pytest benchmarks --device cpu

# The model behind `--model demo`: random weights, made anew when graphs or manifest change.
demo-model: setup
	$(BIN)/sa3-edge export --synthetic tiny --name demo --out sa3_edge/demo --overwrite

# The page of all options, from the commands' own help.
docs-options: setup
	$(BIN)/python -m sa3_edge.cli.options_page > docs/options.md

clean:
	rm -rf .venv build dist runtimes/web/node_modules runtimes/web/dist runtimes/web/build .mypy_cache .pytest_cache .ruff_cache
