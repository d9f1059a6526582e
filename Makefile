# Everything a developer runs. CI calls the same targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help setup demo test lint format types unit integration chaos bench load audit references clean

HOST ?= http://127.0.0.1:8080
USERS ?= 20
SECONDS ?= 120
SEED ?= 7

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make the virtual environment with the locked packages

$(STAMP): requirements.lock pyproject.toml infra/setup.sh
	@bash infra/setup.sh "$(VENV)"
	@touch $@

demo: setup ## Start the system, play real images through it, show and report what happened
	@$(BIN)/riverlight demo

test: setup lint types unit integration ## Lint, type-check and run every test (CI runs this)

lint: setup ## Style, and imports that go downward only
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

format: setup ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

types: setup ## Type-check the packages
	@$(BIN)/mypy

unit: setup ## The tests that start no processes
	@$(PYTEST) -m "not integration" --numprocesses auto --maxprocesses 4

integration: setup ## The tests on real brokers, databases and Ray
	@$(PYTEST) -m "integration and not serve" --numprocesses 2 --dist loadfile
	@$(PYTEST) -m "serve and not alone"
	@$(PYTEST) tests/integration/test_training_on_ray.py

chaos: setup ## Kill, freeze, poison and flood the system; prove that nothing is lost (long)
	@$(BIN)/riverlight chaos run --all --seed $(SEED)
	@$(BIN)/riverlight chaos report

bench: setup ## Measure every promise beside its baseline (long; wants a quiet machine)
	@$(BIN)/riverlight bench run
	@$(BIN)/riverlight bench report

load: setup ## Put load on the running system at HOST, with thresholds (riverlight up --detach first)
	@$(BIN)/locust -f tests/load/locustfile.py --headless --only-summary --host $(HOST) --users $(USERS) --spawn-rate 5 --run-time $(SECONDS)

audit: setup ## Look for known weaknesses in the locked packages
	@$(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement requirements.lock

references: setup ## Write the generated pages in docs/reference
	@$(BIN)/riverlight docs

clean: ## Remove the virtual environment and caches (not var/, which holds data)
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
