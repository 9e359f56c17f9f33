# Everything a developer needs. `make help` lists the targets.
# PYTHON may name any interpreter of 3.11 or later.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test verify unit kube scenarios kube-up kube-down bench format proto clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## Make the virtual environment with everything in it

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "parti needs Python 3.11 or later; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: $(STAMP) ## A real cluster on this machine: grows, drains, survives a crash, loses nothing
	$(BIN)/python -m examples.demo

test: verify unit kube ## All checks and all tests

verify: $(STAMP) ## Formatting, lint, types, walls between packages, generated code and pages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/generate_protos.py --check
	$(BIN)/python tools/render_docs.py --check
	$(BIN)/python -m tools.render_manifests --check

unit: $(STAMP) ## All tests; those of real processes not beside others, for they measure time
	$(BIN)/python -m pytest -n 2 -m "not process and not kube"
	$(BIN)/python -m pytest -n 2 -m process

# Leaves watches and proxies of the nodes silent for a minute: by `make scenarios`, not before others.
OUTAGE := tests/kube/scenarios/test_operator_away.py::test_messages_flow_while_the_apiserver_is_away

kube: $(STAMP) ## The tests that need Kubernetes: a cluster of three nodes on this machine, as root
	$(BIN)/python -m pytest tests/kube --deselect $(OUTAGE)

scenarios: $(STAMP) ## Only parti under load, one trouble after the other, an outage of the API server too
	$(BIN)/python -m pytest tests/kube/scenarios

kube-up: $(STAMP) ## A Kubernetes of three nodes on this machine, to work with by hand, as root
	$(BIN)/python -m tests.kube.by_hand up

kube-down: ## Remove what kube-up made
	$(BIN)/python -m tests.kube.by_hand down

bench: $(STAMP) ## Measure; prints a table and writes JSON below bench-results/
	$(BIN)/python -m tests.bench

format: $(STAMP) ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(STAMP) ## Generate the protobuf code anew
	$(BIN)/python tools/generate_protos.py

clean: ## Remove what the targets above made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache bench-results
