# Everything that is done with this checkout, from installing to measuring. `make` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV := $(shell sed -n 's/^\(uv==[0-9.]*\).*/\1/p' requirements-dev.txt)
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --quiet
# Processes that tests are run in. A third one on two cores is faster, and has servers of the demo not start in time.
WORKERS ?= 2
# Which Python to build the environment with; the first on the path that fits, unless given.
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& { echo $$each; break; }; done)

.PHONY: help
help: ## List what there is to make
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '  %-8s %s\n' "$$name" "$$text"; done

.PHONY: venv
venv: $(STAMP) ## Install everything into .venv

$(STAMP): requirements-dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Lethe needs Python 3.11, 3.12 or 3.13: make venv PYTHON=/path/to/python3.13"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(UV)"
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements-dev.txt
	rm -rf include/*.egg-info  # of earlier installs, which Airflow would take the plugin of once more
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(STAMP)

.PHONY: demo
demo: $(STAMP) ## Run the demo company in Airflow until Ctrl-C; ONCE=1 ends by itself and checks every promise; EXECUTOR=celery
	@$(BIN)/python -m lethe_demo $(if $(ONCE),--once) $(if $(EXECUTOR),--executor $(EXECUTOR))

.PHONY: test
test: $(STAMP) ## Run all tests, kills and races at a tenth of their number; ARGS="..." goes to pytest
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --max-worker-restart 0 $(ARGS)

.PHONY: check
check: $(STAMP) ## Lint, formatting, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: bench
bench: $(STAMP) ## Measure erasing against the fastest that can be written by hand
	$(BIN)/python -m bench $(ARGS)

.PHONY: faults
faults: $(STAMP) ## Kill, race and corrupt in full number, and say what was tried; LONG=1 for hours of it
	FULL=1 LONG=$(LONG) $(BIN)/python -m pytest tests/faults -m repeated --numprocesses $(WORKERS) --max-worker-restart 0 -rP $(ARGS)

.PHONY: schema
schema: $(STAMP) ## Write the JSON Schema of policies, for editors
	$(BIN)/python -m lethe.policy > include/policies/policy.schema.json

.PHONY: lock
lock: $(STAMP) ## Compile requirements.txt and requirements-dev.txt; ARGS=--upgrade for newer versions
	$(COMPILE) $(ARGS) --extra celery --extra fab --extra mariadb --extra texts --output-file requirements.txt
	$(COMPILE) $(ARGS) --extra dev --constraint requirements.txt --output-file requirements-dev.txt

.PHONY: clean
clean: ## Remove what was generated, the demo's data included; the environment stays
	rm -rf .lethe .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
