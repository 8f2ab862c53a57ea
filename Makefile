# One command a habit. `make test` sets up all it needs in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup fmt lint type test test-hosts bench fuzz faults demo-model docs docs-options release audit clean

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
	$(BIN)/pyright --pythonpath $(BIN)/python

# Two at a time, a core each (more threads would wait for each other). A file's tests stay together, with what they export;
# the longest files come first, so that none is left alone at the end.
JOBS ?= 2
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/export tests/runtimes tests/edge/test_*.py tests/docs tests \
		--numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder --durations 20

# The hosts in other languages; needs Node, for Kotlin a JDK and Maven. Says what it could not run.
test-hosts:
	runtimes/run_tests

# The suite's made-up cases, many more of them than the suite tries.
fuzz: setup
	SA3_EDGE_FUZZ=10000 $(BIN)/python -m pytest tests/edge/test_reliability.py tests/edge/engines/test_onnx_file.py -k "mutated or any_"

# Commands are killed 50 times each at random moments, and failed in every other way; the table of docs/reliability.md is made by it.
faults: setup
	$(BIN)/python -m tests.faults --write

# Absolute times are this machine's; `--help` and benchmarks/conftest.py say what can be measured.
bench: setup
	$(BIN)/python -m pytest benchmarks --device cpu

# The model behind `--model demo`, from its checkpoint. That one is trained by `sa3_export.checkpoints.demo`, in an hour.
demo-model: setup
	$(BIN)/sa3-edge export tests/data/demo --name demo --out sa3_edge/demo --overwrite

# The site of all documents, build/site/index.html; fails at a dead link, and if a page would load something from elsewhere.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The page of all options, from the commands' own help.
docs-options: setup
	$(BIN)/python -m sa3_edge.cli.options_page > docs/options.md

# Builds and checks, the wheel twice, which must be the same bytes; uploads nothing. dist/ then holds sdist, wheel, notes, formula and a bill of materials of the runtime.
release: setup
	rm -rf dist build/release
	$(BIN)/python -m pip install --quiet --editable '.[release]'
	$(BIN)/python -m build
	$(BIN)/python -m hatchling build -t wheel -d build/release/again
	cmp dist/*.whl build/release/again/*.whl
	$(BIN)/python -m twine check --strict dist/*.tar.gz dist/*.whl
	$(BIN)/python release/files.py
	$(PYTHON) -m venv build/release
	build/release/bin/pip install --quiet dist/*.whl
	build/release/bin/sa3-edge generate "lofi piano" --model demo --seconds 1 -o build/release/lofi.wav
	$(BIN)/cyclonedx-py environment --output-reproducible --output-file dist/sbom.cdx.json build/release/bin/python

# Licences of all that the runtime brings, and known holes in it (pip-audit); says loudly what it could not ask.
audit: setup
	$(BIN)/python -m pip install --quiet 'pip-audit>=2.7,<3' || echo "SKIPPED: pip-audit cannot be installed here" >&2
	$(BIN)/python release/audit.py

clean:
	rm -rf .venv build dist runtimes/kotlin/*/target runtimes/web/node_modules runtimes/web/dist runtimes/web/build .mypy_cache .pytest_cache .ruff_cache
