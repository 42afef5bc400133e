# flowseg: every target makes what it needs. `make help` lists them.

CONFIG ?= vlm_film
CONFIGS ?= baseline vlm_film
SEEDS ?= 0 1 2
PRESET ?= auto
SPLIT ?= test
ENCODER ?= qwen2.5-vl
MINUTES ?= 20
SEED ?= 0

# The newest working Python of 3.11 or later. A given PYTHON gets an environment of its own.
ifdef PYTHON
VENV ?= .venv-$(notdir $(PYTHON))
else
PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do \
  "$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p" && break; done)
VENV ?= .venv
endif
BIN := $(VENV)/bin
EXTRA := $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi >/dev/null 2>&1 && echo cuda)
INSTALL := -m pip install --quiet --disable-pip-version-check
PIP := $(BIN)/python $(INSTALL)
comma := ,

# Names go to the shell through the environment and as they were given: neither make nor the shell expands what is in
# them. ARGS is shell text, since it holds several options.
NAMES := CONFIG CONFIGS SEEDS PRESET SPLIT ENCODER DATA EMBEDDINGS RUN RUNS IMAGES OUT RESUME MINUTES SEED
$(foreach name,$(NAMES),$(eval override $(name) := $$(value $(name))))
export $(NAMES)
ON_DATA = $(if $(DATA),--data "$$DATA") $(if $(EMBEDDINGS),--embeddings "$$EMBEDDINGS")
TO_OUT = $(if $(OUT),--out "$$OUT")

.PHONY: help setup train experiment eval report predict compare embed analyze test test-vlm test-cluster campaign gpu-check bench lint clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20
	@echo
	@echo "  make train CONFIG=vlm_film|baseline|supervised|... [DATA=folder] [EMBEDDINGS=store] [PRESET=auto|full|cpu]"
	@echo "             [RESUME=auto] [OUT=folder] [ARGS=\"--optim.lr 1e-4 ...\"]"

setup: $(VENV)/.installed ## install flowseg into .venv (with CUDA where nvidia-smi answers)

train: $(VENV)/.installed ## train CONFIG, score it on the test split, draw its pictures
	$(BIN)/flowseg train "$$CONFIG" --preset "$$PRESET" $(ON_DATA) $(if $(RESUME),--resume "$$RESUME") $(TO_OUT) $(ARGS)

experiment: $(VENV)/.installed ## train, score and compare CONFIGS over SEEDS into OUT (runs/experiment)
	$(BIN)/flowseg experiment --configs $$CONFIGS --seeds $$SEEDS --preset "$$PRESET" \
	  --out "$${OUT:-runs/experiment}" $(ON_DATA) $(ARGS)

eval: $(VENV)/.installed ## score the best checkpoint of RUN=runs/... on SPLIT (test)
	@test -n "$$RUN" || { echo "give the run's folder: make eval RUN=runs/..."; exit 2; }
	$(BIN)/flowseg eval "$$RUN" --split "$$SPLIT" $(ON_DATA) $(TO_OUT) $(ARGS)

report: $(VENV)/.installed ## show RUN=runs/... on a page in RUN/report
	@test -n "$$RUN" || { echo "give the run's folder: make report RUN=runs/..."; exit 2; }
	$(BIN)/flowseg report "$$RUN" $(TO_OUT) $(ARGS)

predict: $(VENV)/.installed ## segment IMAGES (files or folders) with RUN=runs/... into the folder OUT
	@test -n "$$RUN" -a -n "$$IMAGES" -a -n "$$OUT" || \
	  { echo "give run, images and folder: make predict RUN=runs/... IMAGES=\"a.png b.dcm\" OUT=masks"; exit 2; }
	$(BIN)/flowseg predict "$$RUN" $$IMAGES --out "$$OUT" $(if $(EMBEDDINGS),--embeddings "$$EMBEDDINGS") $(ARGS)

compare: $(VENV)/.installed ## compare RUNS (folders of runs, or logs) in a report in the folder OUT
	@test -n "$$RUNS" -a -n "$$OUT" || { echo "give runs and folder: make compare RUNS=\"runs/a runs/b\" OUT=report"; exit 2; }
	$(BIN)/flowseg compare $$RUNS --out "$$OUT" $(ARGS)

embed: $(if $(filter qwen%,$(ENCODER)),$(VENV)/.installed-vlm,$(VENV)/.installed) ## embeddings of DATA by ENCODER (qwen2.5-vl) into the store OUT
	@test -n "$$DATA" -a -n "$$OUT" || { echo "give the images and the store: make embed DATA=folder OUT=file"; exit 2; }
	$(BIN)/flowseg embed "$$DATA" --encoder "$$ENCODER" --out "$$OUT" $(ARGS)

analyze: $(VENV)/.installed ## what the embeddings contribute to RUN=runs/... on SPLIT (test)
	@test -n "$$RUN" || { echo "give the run's folder: make analyze RUN=runs/..."; exit 2; }
	$(BIN)/flowseg analyze film "$$RUN" --split "$$SPLIT" $(ON_DATA) $(ARGS)

# A process that crashed is not replaced: xdist would wait for its file's tests for ever.
test: $(VENV)/.installed-dev ## run the tests
	$(BIN)/python -m pytest -n 2 --max-worker-restart 0 $(ARGS)

test-vlm: $(VENV)/.installed-vlm ## run the tests that need PyTorch (extra vlm)
	$(BIN)/python -m pytest -n 2 --max-worker-restart 0 -m torch $(ARGS)

test-cluster: $(VENV)/.installed-cluster ## run the tests that need Ray (extra cluster)
	$(BIN)/python -m pytest -m cluster $(ARGS)

campaign: $(VENV)/.installed-dev ## disturb flowseg for MINUTES (20) by kills, damage, full disks ...; SEED (0) chooses how
	$(BIN)/python -m tests.campaign --minutes "$$MINUTES" --seed "$$SEED" $(ARGS)

gpu-check: $(VENV)-gpu-check/.installed ## count what a small step costs on a GPU (none is needed); fail if it has grown
	$(VENV)-gpu-check/bin/python benchmarks/gpu_program.py vlm_film --tiny \
	  --against benchmarks/results/gpu_program_tiny.json $(ARGS)

bench: $(VENV)/.installed-dev ## time the step against the PyTorch reference (TORCH_PYTHON=a Python with torch)
	$(BIN)/python benchmarks/step_throughput.py $(if $(TORCH_PYTHON),--torch-python "$(TORCH_PYTHON)") \
	  $(if $(EXTRA),--gpu) $(ARGS)

lint: $(VENV)/.installed-dev ## ruff and mypy
	$(BIN)/ruff check flowseg configs tests benchmarks setup.py
	$(BIN)/ruff format --check flowseg configs tests benchmarks setup.py
	$(BIN)/mypy

# An environment of its own: XLA's CUDA compiler would look for a GPU whenever JAX starts.
$(VENV)-gpu-check/.installed: pyproject.toml | $(BIN)/python
	@echo "installing flowseg and XLA's CUDA compiler into $(VENV)-gpu-check ($$($(BIN)/python --version))"
	$(BIN)/python -m venv $(VENV)-gpu-check
	$(VENV)-gpu-check/bin/python $(INSTALL) -e ".[gpu-check]"
	@touch $@

clean: ## remove environments and caches, not runs
	rm -rf .venv .venv-* .cache .pytest_cache .mypy_cache .ruff_cache *.egg-info

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "flowseg needs Python 3.11 or newer with venv (Debian, Ubuntu: apt install python3-venv)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "installing flowseg into $(VENV) ($$($(BIN)/python --version)$(if $(EXTRA),$(comma) $(EXTRA)))"
	$(PIP) -e ".$(if $(EXTRA),[$(EXTRA)])"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "installing flowseg and its test tools into $(VENV) ($$($(BIN)/python --version))"
	$(PIP) -e ".[dev$(if $(EXTRA),$(comma)$(EXTRA))]"
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-vlm: pyproject.toml | $(BIN)/python
	@echo "installing flowseg with PyTorch into $(VENV) ($$($(BIN)/python --version))"
	$(PIP) -e ".[dev,vlm,peers$(if $(EXTRA),$(comma)$(EXTRA))]"
	@touch $@ $(VENV)/.installed $(VENV)/.installed-dev

$(VENV)/.installed-cluster: pyproject.toml | $(BIN)/python
	@echo "installing flowseg with Ray into $(VENV) ($$($(BIN)/python --version))"
	$(PIP) -e ".[dev,cluster$(if $(EXTRA),$(comma)$(EXTRA))]"
	@touch $@ $(VENV)/.installed $(VENV)/.installed-dev
