# The two commands of the README are `make demo` and `make test`; both set everything up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
WORKDIR ?= demo_run
DEMO ?=

.PHONY: demo bench test test-fast test-long test-browser test-optimised lint format types lock setup clean
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.installed ## Make .venv with the locked dependencies (about a minute)

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"ipad_jax needs Python 3.11 or newer, {sys.executable} is {v.major}.{v.minor}; try make PYTHON=python3.11")'
	@echo "[set-up 1/3] virtual environment in $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV) || { echo "python3 -m venv failed; on Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@echo "[set-up 2/3] $$(wc -l < requirements.lock) locked packages (about 340 MB to download, 1.2 GB on disk)"
	@start=$$(date +%s); $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock && echo "             done in $$(( $$(date +%s) - start )) s"
	@echo "[set-up 3/3] ipad_jax itself, editable"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: setup ## Render a machine, train, evaluate, write a report (at most 6 minutes; DEMO="--image": images, DEMO="--object": a toy from any side)
	@$(BIN)/ipad-jax demo --workdir $(WORKDIR) $(DEMO)

# loadfile: a file's shared runs are made by one worker. Bytecode is written, for dozens of processes.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist loadfile

test: setup lint types ## What CI runs: lint, types and all tests but the long ones (some 15 minutes on 2 cores)
	@echo "[tests 3/3] all but long ones, some 15 minutes on 2 cores"
	@$(PYTEST) -m "not long" --durations 10

test-fast: setup ## For every change: tests that train nothing (4 minutes on 2 cores)
	@echo "[tests] fast ones, 4 minutes on 2 cores"
	@$(PYTEST) -m "not slow and not long"

test-long: setup ## What takes minutes by nature: kills, soaks, random walks
	@echo "[tests] long ones, minutes each"
	@$(BIN)/python -m pytest -m long --durations 0

test-browser: setup ## The page in a real browser (installs the extra `browser`; Debian: apt-get install chromium)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python "playwright>=1.50"
	@$(BIN)/python -m pytest tests/web -m "slow or long" -k "browser or walk" --durations 0

test-optimised: setup ## All tests with the programs that users run, compiled in full (about twice as long)
	@echo "[tests] all but long ones, optimised programs: at most 30 minutes on 2 cores"
	@IPAD_JAX_TEST_OPTIMISED=1 $(PYTEST) -m "not long"

bench: setup ## Speed of this machine: model (against PyTorch, which it installs), profile, input, preparing, detection, start-up, growth, page (of a run, and errors of cycles: ipad-jax bench --help)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python "torch>=2.6"
	@for what in model profile input prepare detection startup growth page; do $(BIN)/ipad-jax bench $$what && echo || exit 1; done

docs: setup ## The documentation as a site in build/site/ (installs the extra `docs`)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -c requirements.lock --editable '.[docs]'
	@$(BIN)/python docs/build.py

lint: setup ## ruff
	@echo "[lint 1/3] ruff" && $(BIN)/ruff check . && $(BIN)/ruff format --check .

format: setup ## ruff, in place
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

types: setup ## pyright
	@echo "[types 2/3] pyright, half a minute" && PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

lock: ## Resolve requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile --universal --fork-strategy fewest --python-version 3.11 --extra dev --extra web \
	  --no-header --no-annotate --no-emit-index-url --upgrade --quiet pyproject.toml -o requirements.lock

clean: ## Remove .venv and caches (never a run folder)
	rm -rf $(VENV) .pytest_cache .ruff_cache
