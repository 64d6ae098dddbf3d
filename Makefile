# `make test` sets up what it needs and runs every check. Given: Python 3.11 or later with venv, Rust, a C compiler.
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)
export PYTHONDONTWRITEBYTECODE := 1
.NOTPARALLEL:
.PHONY: help test test-rust test-python lint protos
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

$(VENV)/requirements.txt: pyproject.toml tools/requirements.py
	@test -x $(BIN)/python || python3 -m venv $(VENV)
	@$(BIN)/python tools/requirements.py dev > $@.new
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $@.new
	@mv $@.new $@

protos: $(VENV)/requirements.txt ## Write the generated Python code of protos/
	$(BIN)/python tools/generate_protos.py

lint: $(VENV)/requirements.txt ## Check formats, lints and the wire contract
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking --against tools/protos-baseline.binpb
	$(BIN)/python tools/generate_protos.py --check
	$(BIN)/ruff check python tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

test-rust: ## Run the Rust tests
	cargo test --workspace --locked

test-python: $(VENV)/requirements.txt ## Run the Python tests
	PYTHONPATH=python $(BIN)/python -m pytest tests/client

test: lint test-rust test-python ## Run every check and every test
