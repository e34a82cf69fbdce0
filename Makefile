# Every target sets up what it needs. `make` alone explains them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not chaos and not security"
TASK ?= vision

.PHONY: help
help: ## Print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

# Installed once, and again when the project or its pinned versions change. Nothing is compiled before it is used:
# Python does that by itself, and to compile all of it takes two minutes.
$(READY): pyproject.toml docker/constraints.txt
	@echo "Installing into $(VENV) (once, a few minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint docker/constraints.txt setuptools torch 2>&1 | grep -v '^WARNING: Location' || true
	@$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint docker/constraints.txt --editable '.[dev]' 2>&1 | grep -v '^WARNING: Location'; exit $${PIPESTATUS[0]}
	@touch $(READY)

.PHONY: setup
setup: $(READY) ## Create the virtual environment and install everything into it

.PHONY: demo
demo: $(READY) ## The closed loop on real scans: train, serve, drift, retrain, recover (ARGS=--keep leaves it up)
	@$(BIN)/python -m services.cli.demo $(ARGS)

.PHONY: demo-engine
demo-engine: $(READY) ## The engine alone: train, stop, resume to the same bits, export (TASK=vision or TASK=text)
	@$(BIN)/python -m services.trainer.demo --task $(TASK)

.PHONY: test
test: $(READY) ## Run the tests
	@$(TEST)

.PHONY: coverage
coverage: $(READY) ## Run the library's tests, and measure how many of its branches they take: at least nine in ten
	@$(BIN)/python -m coverage erase
	@$(TEST) tests/training tests/acceptance --cov --cov-report=term:skip-covered

.PHONY: test-slow
test-slow: $(READY) ## Run the tests that take minutes (compilation, soak, races)
	@$(BIN)/python -m pytest -m "slow and not security" --timeout 1800

.PHONY: chaos
chaos: $(READY) ## Kill, freeze, empty and fill every part of the platform; print what held
	@$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: security
security: $(READY) ## Attack a whole platform: doors, fuzzing, hostile inputs, secrets; ends with a table
	@SECURITY_EXAMPLES=40 $(BIN)/python -m pytest tests/security --timeout 1800

.PHONY: lint
lint: $(READY) ## Check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: format
format: $(READY) ## Rewrite files in the project's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: types
types: $(READY) ## Check types strictly
	@$(BIN)/mypy

.PHONY: imports
imports: $(READY) ## Check that imports run one way
	@$(BIN)/lint-imports

.PHONY: check
check: lint types imports ## lint, types and imports

.PHONY: bench
bench: $(READY) ## Measure speed: every figure is a ratio taken in one run
	@$(BIN)/python -m benchmarks

.PHONY: images
images: ## Build the container images with docker, else podman (IMAGES="registry serving" for some)
	@docker/build.sh $(IMAGES)

.PHONY: images-test
images-test: $(READY) ## Run the images: read-only, unprivileged, one model round the loop, SIGTERM
	@docker/test.sh

.PHONY: kind-up
kind-up: ## Create a kind cluster, build and load the images, install the chart (needs docker, kind, kubectl, helm)
	@charts/kind/up.sh

.PHONY: kind-demo
kind-demo: ## Let the cluster train, gate, promote and serve one small model
	@charts/kind/demo.sh

.PHONY: kind-verify
kind-verify: ## Check in the cluster what only a cluster shows: admission, policies, upgrades, lost pods
	@charts/kind/verify.sh

.PHONY: kind-down
kind-down: ## Delete the cluster
	@charts/kind/down.sh

.PHONY: dashboards
dashboards: $(READY) ## Write Grafana's dashboards from their code
	@$(BIN)/python -m charts.dashboards

.PHONY: docs
docs: $(READY) ## Check that every link and every code reference in the documents resolves
	@$(BIN)/python docs/check.py

.PHONY: clean
clean: ## Remove everything that was built or installed here
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage* *.egg-info build
