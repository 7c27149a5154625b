# What to run: `make demo` restores sample images, `make test` runs the tests. Both set up .venv first (Python 3.11 or later, pip).

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

export HF_HUB_OFFLINE ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow check docs fuzz faults mutants format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: $(READY) ## create .venv with everything that is needed, once

# torch comes first and pinned: left to the other requirements, pip may choose another build with gigabytes of libraries.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "rebridge needs Python 3.11 or later, and none was found" >&2; exit 1; }
	@test -x $(BIN)/python || echo "setting up $(VENV) with $(PYTHON): this takes some minutes, once"
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV) || { "$(PYTHON)" -m venv --clear --without-pip $(VENV) \
		&& "$(PYTHON)" -m pip --python $(BIN)/python install --quiet pip; }
	@$(PIP) $$(grep -E '^torch==' constraints.txt)
	@$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY) ## restore real sample images with the packaged model, and say where the results lie
	@$(BIN)/python examples/demo.py

# One process per core with one thread each: threads that share cores with other processes spend their time waiting.
test: $(READY) ## run the tests, except the slow ones
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile

test-slow: $(READY) ## run the slow tests
	@$(BIN)/python -m pytest -m slow

check: $(READY) ## lint, formatting, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: $(READY) ## build the documentation into site/, strictly and without a network
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "site/index.html"

fuzz: $(READY) ## 10,000 cases of odd files, options, configurations and model folders
	@OMP_NUM_THREADS=1 $(BIN)/python tools/fuzz.py --cases 10000

faults: $(READY) ## kill training, checkpoints and restorations 50 times each; full disks; two writers
	@OMP_NUM_THREADS=1 $(BIN)/python tools/faults.py --kills 50

mutants: $(READY) ## bugs of one line each, in copies: do the tests find them? (hours)
	@$(BIN)/python tools/mutants.py

format: $(READY) ## format the code and fix what can be fixed
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## remove caches and results, not .venv
	rm -rf build dist site demo-results .pytest_cache .mypy_cache .ruff_cache .hypothesis
