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

REMOTE = $(REMOTE_USER)@$(REMOTE_HOST)
REPETITIONS ?= 10

.PHONY: help venv demo test test-slow lint format dev chaos bench-training bench-orchestration bench-data remote-push remote-tunnel remote-fetch clean distclean

help: ## Show the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

venv: $(VENV)/.ready ## Make the virtual environment from the pinned constraints

# torch comes first and alone: resolved together with the rest, pip may pick another build of it.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check torch -c constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,postgres,ray,k8s,docker,s3,lakefs,gpu,trackers,html]' -c constraints.txt
	@touch $@

demo: venv ## Run the main job: base -> CPT -> SFT v1.0 -> votes -> DPO v1.1 -> champion
	@mkdir -p $(LLMOPS_STATE_DIR)
	@$(BIN)/llmops demo

test: venv ## Run the tests that take less than half a minute each
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

test-slow: venv ## Run the others: whole lanes, several ranks, every shipped recipe
	$(BIN)/pytest -n 2 --dist loadfile -m slow

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

chaos: venv ## Kill, cancel, fill and lock everything, REPETITIONS times each, and print what was left behind
	$(BIN)/python -m llmops_assets_tests.chaos --repetitions $(REPETITIONS)

bench-training: venv ## Measure training against its peers on this machine's CPUs: about two hours
	$(BIN)/python -m benchmarks.training_cpu

bench-orchestration: venv ## Measure what Dagster adds to a training, against the bare worker: a quarter of an hour
	$(BIN)/python -m benchmarks.orchestration

bench-data: venv ## Measure near-duplicate removal and the corpus pipeline against their peers: about three hours
	$(BIN)/python -m benchmarks.near_duplicates
	$(BIN)/python -m benchmarks.corpus_pipeline

remote-push remote-tunnel remote-fetch: remote-named

.PHONY: remote-named
remote-named:
	@test -n "$(REMOTE_USER)" -a -n "$(REMOTE_HOST)" -a -n "$(REMOTE_DIR)" || \
		{ echo "Set REMOTE_USER, REMOTE_HOST and REMOTE_DIR; docs/remote-gpu-box.md says to what." >&2; exit 2; }

# Git ignores data/, but recipes read it: it is sent too (S), and what lies there on the box alone stays (P).
remote-push: ## Copy the project to REMOTE_USER@REMOTE_HOST:REMOTE_DIR and set it up there
	rsync -az --delete --filter='S /data/***' --filter='P /data/***' --filter=':- .gitignore' ./ $(REMOTE):$(REMOTE_DIR)/
	ssh $(REMOTE) "cd $(REMOTE_DIR) && make venv"

remote-tunnel: ## Bring the Dagster and MLflow UIs of that machine here
	ssh -N -o ExitOnForwardFailure=yes -o ServerAliveInterval=30 \
		-L $(DAGSTER_PORT):127.0.0.1:3000 -L $(MLFLOW_PORT):127.0.0.1:5000 $(REMOTE)

remote-fetch: ## Fetch the artifacts of that machine
	rsync -az $(REMOTE):$(REMOTE_DIR)/.llmops/artifacts/ .llmops/artifacts/

clean: ## Delete all state: artifacts, votes, runs, MLflow
	rm -rf .llmops logs .logs_queue .pytest_cache .ruff_cache .import_linter_cache

distclean: clean ## Delete the virtual environment too
	rm -rf $(VENV) *.egg-info
