# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.
# Given: Python 3.11 or later with venv, Rust, a C compiler and make. Everything else is installed into .venv.

VENV := .venv
BIN := $(VENV)/bin
EXTENSION := python/invengine/_core.abi3.so
WHEELS := target/wheels
EXTRAS := server simulate bench dev
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
# In CI the versions of Cargo.lock are the only ones.
LOCKED := $(if $(CI),--locked)
RUST_SOURCES := $(shell find rust protos Cargo.toml $(wildcard Cargo.lock) -name '*.rs' -o -name '*.toml' -o -name '*.lock' -o -name '*.proto')

export VIRTUAL_ENV := $(abspath $(VENV))
export PATH := $(abspath $(BIN)):$(PATH)
export PYTHONDONTWRITEBYTECODE := 1
# The extension finds its interpreter by itself, whatever else is built beside it.
export PYO3_PYTHON := $(abspath $(BIN))/python
export MAKE

# Two builds at once only get in each other's way.
.NOTPARALLEL:
.DEFAULT_GOAL := help

# How many processes share the Python tests: more than a machine of two cores has, for many tests wait. WORKERS=0: one.
WORKERS ?= 3

# What the fault simulator plays; SEED=n repeats one run.
SEED ?=
HOURS ?= 100
RECOVERIES ?= 20000

.PHONY: help setup build protos docs protos-baseline fmt lint lint-rust lint-python lint-protos test test-rust test-faults test-python \
	cases soak simulate-faults mutants wheel wheel-test demo bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(EXTENSION) ## Make .venv, install the tools, build the extension
	@echo "ready: activate with . $(BIN)/activate"

build: $(EXTENSION) ## Build the extension (release) for this tree

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "invengine needs Python 3.11 or later: install it, or set PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "Python's venv is missing: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/requirements.txt: $(BIN)/python pyproject.toml tools/requirements.py
	@$(BIN)/python tools/requirements.py $(EXTRAS) > $@.new
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $@.new
	@mv $@.new $@

$(EXTENSION): $(VENV)/requirements.txt $(RUST_SOURCES)
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }
	$(BIN)/maturin develop --release $(LOCKED)
	@touch $@

protos: $(VENV)/requirements.txt ## Write the generated Python code of protos/
	$(BIN)/python tools/generate_protos.py

docs: $(VENV)/requirements.txt ## Write the reference docs/api.md from the docstrings and the protos
	$(BIN)/python tools/api.py

protos-baseline: $(VENV)/requirements.txt ## Make today's protos the ones that must not break (at a release)
	$(BIN)/buf build --exclude-source-info -o tools/protos-baseline.binpb

fmt: $(VENV)/requirements.txt ## Format everything
	cargo fmt --all
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/buf format --write

lint: lint-protos lint-python lint-rust ## Check formats, lints, types, stubs and the wire contract

lint-protos: $(VENV)/requirements.txt
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking --against tools/protos-baseline.binpb
	$(BIN)/python tools/generate_protos.py --check
	$(BIN)/python tools/api.py --check

lint-python: $(EXTENSION)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest invengine._core

lint-rust: $(VENV)/requirements.txt
	cargo fmt --all --check
	cargo clippy --workspace --all-targets $(LOCKED) -- -D warnings

test: $(EXTENSION) ## Run every check and every test, with a summary
	@$(BIN)/python tools/run_checks.py lint test-rust test-faults test-python wheel-test

test-rust: $(VENV)/requirements.txt ## Run the Rust tests, those of Redis on redis-server and on the Valkey of .venv; count instructions
	INVENGINE_REDIS_SERVER=$${INVENGINE_REDIS_SERVER:-$$(command -v redis-server)} \
	INVENGINE_VALKEY_SERVER=$${INVENGINE_VALKEY_SERVER:-$$($(BIN)/python tools/valkey_server.py)} \
	cargo test --workspace --quiet --no-fail-fast $(LOCKED)
	$(BIN)/python tools/instructions.py

test-faults: $(VENV)/requirements.txt ## Simulate 100 hours and 20,000 crashes; plant three known bugs, drawn by the date
	cargo build --quiet -p invengine-faults $(LOCKED)
	target/debug/invengine-faults --hours $(HOURS)
	target/debug/invengine-faults --short --recoveries $(RECOVERIES)
	$(MAKE) --no-print-directory mutants ARGS=--three

test-python: $(EXTENSION) ## Run the Python tests: conformance, complaints, examples of the documents, shape
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

cases: $(VENV)/requirements.txt ## Write the table of cases and their tests into docs/RELIABILITY.md
	$(BIN)/python tools/cases.py

soak: $(EXTENSION) ## Run the long faults for MINUTES=60 (one stage: STAGE=kills) and add them up in docs/RELIABILITY.md
	$(BIN)/python tools/soak.py --minutes $(or $(MINUTES),60) $(addprefix --stage ,$(STAGE)) $(ARGS)

wheel: $(VENV)/requirements.txt ## Build the wheel into target/wheels
	$(BIN)/maturin build --release $(LOCKED) --interpreter $(BIN)/python --out $(WHEELS)

wheel-test: wheel ## Run the conformance suite from the wheel, in an empty environment
	$(BIN)/python tools/wheel_test.py $(WHEELS) $(WORKERS)

simulate-faults: ## Run the fault simulator; SEED=n repeats one run
	cargo build --profile simulate -p invengine-faults $(LOCKED)
	$(if $(SEED),target/simulate/invengine-faults --seed $(SEED),\
	target/simulate/invengine-faults --hours $(HOURS) && target/simulate/invengine-faults --short --recoveries $(RECOVERIES))

mutants: $(VENV)/requirements.txt ## Test the tests: plant each known bug and expect it to be found; three of them: ARGS=--three
	INVENGINE_REDIS_SERVER=$${INVENGINE_REDIS_SERVER:-$$(command -v redis-server)} \
	INVENGINE_VALKEY_SERVER=$${INVENGINE_VALKEY_SERVER:-$$($(BIN)/python tools/valkey_server.py)} \
	$(BIN)/python tools/mutants.py $(ARGS)

demo: $(EXTENSION) ## Run a promotion weekend on real baskets; the report goes to demo-report/
	$(BIN)/invengine simulate promotion $(ARGS)

bench: $(EXTENSION) ## Run every benchmark; one only: `.venv/bin/invengine bench P2`
	$(BIN)/invengine bench --all $(ARGS)

clean: ## Remove everything that was built or installed
	rm -rf $(VENV) $(EXTENSION) target .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
