# The whole project in a few commands. Nothing needs an activated environment; all state is under .llmops/.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export DAGSTER_HOME := $(CURDIR)
export LLMOPS_STATE_DIR := $(CURDIR)/.llmops
export HF_HUB_OFFLINE ?= 1
export HF_HUB_DISABLE_TELEMETRY := 1
export MLFLOW_DISABLE_TELEMETRY := true
# Where runs run: a name under configs/instances/.
INSTANCE ?= local
DAGSTER_PORT ?= 3000
MLFLOW_PORT ?= 5000
export LLMOPS_DAGSTER_UI_URL := http://127.0.0.1:$(DAGSTER_PORT)
export LLMOPS_MLFLOW_UI_URL := http://127.0.0.1:$(MLFLOW_PORT)

.PHONY: help venv demo test lint format dev clean distclean

help: ## Show the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

venv: $(VENV)/.ready ## Make the virtual environment from the pinned constraints

# torch comes first and alone: resolved together with the rest, pip may pick another build of it.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check torch -c constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,postgres]' -c constraints.txt
	@touch $@

demo: venv ## Run the main job: base -> CPT -> SFT v1.0 -> votes -> DPO v1.1 -> champion
	@mkdir -p $(LLMOPS_STATE_DIR)
	@$(BIN)/llmops demo

test: venv ## Run the tests
	$(BIN)/pytest -n 2 --dist loadfile

lint: venv ## ruff, pyright and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

format: venv ## Let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dev: venv ## Start the Dagster UI and daemon and the MLflow UI (INSTANCE=ray ...); Ctrl-C stops them
	@mkdir -p $(LLMOPS_STATE_DIR)
	@$(BIN)/llmops dev --instance $(INSTANCE) --dagster-port $(DAGSTER_PORT) --mlflow-port $(MLFLOW_PORT)

clean: ## Delete all state: artifacts, votes, runs, MLflow
	rm -rf .llmops logs .logs_queue .pytest_cache .ruff_cache .import_linter_cache

distclean: clean ## Delete the virtual environment too
	rm -rf $(VENV) *.egg-info
