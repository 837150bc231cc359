# Needs python3 (3.11 or newer) with pip and venv. `make PYTHON=python3.13 install` uses another Python.
PYTHON ?= python3
VENV := .venv
PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
CODE := trident launch examples
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
CLUSTER := slurm-wlm slurmdbd munge mariadb-server iproute2 util-linux procps
SWEEP := hydra/launcher=trident_local experiment=sentiment module.optimizer.lr=1e-4,3e-4 run.seed=1,2,3 hydra.launcher.tasks_per_node=2

# Folders of tests/ whose tests each try one module alone, without a run or another process.
UNIT := $(wildcard $(addprefix tests/,launch/core launch/lib launch/planning launch/schedulers launch/sweepdir trident/config trident/core trident/data trident/protocol))

MAKEFLAGS += --no-print-directory
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.PHONY: help install lint test unit sweep campaign clean cluster-deps

help:  ## list the targets
	@echo "Targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F '|' '{ printf "%-20s %s\n", $$1, $$2 }'

install: $(VENV)/contributor.stamp  ## create .venv with trident and everything that a contributor needs
	@echo "trident is installed: . $(VENV)/bin/activate"

cluster-deps:  ## install the Debian packages that tests/cluster needs, unless a SLURM is installed
	@PATH="$$PATH:/usr/sbin:/sbin"; for name in sbatch slurmd munged; do \
	  if command -v $$name > /dev/null; then echo "nothing to install: $$name is here"; exit 0; fi; \
	done; \
	set -ex; $(SUDO) apt-get update -qq; \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $(CLUSTER) > /dev/null

lint: install  ## run ruff (lint and format) and mypy
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m mypy

test: $(if $(filter true,$(CI)),cluster-deps) lint  ## run lint, types and all tests
	$(VENV)/bin/pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder --durations 20

unit: install  ## run the tests of single modules, in seconds
	$(VENV)/bin/pytest $(UNIT)

campaign: $(if $(filter true,$(CI)),cluster-deps) install  ## on a SLURM: compare 12 members, 5 of them disturbed, with 12 undisturbed ones; kill another one three times (30 min)
	$(VENV)/bin/python tests/cluster/campaign.py
	$(VENV)/bin/python tests/cluster/killed.py

sweep: export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
sweep: $(VENV)/demo.stamp  ## install the demo, run a real sweep of 6 members, print its table
	cd examples/sentiment && trident-sweep submit $(SWEEP) --wait
	cd examples/sentiment && trident-sweep results --grouped --metric '*/test/acc' --metric '*/test/macro_f1'
	@echo
	@echo "Type next:"
	@echo "  . $(VENV)/bin/activate && cd examples/sentiment"
	@echo "  trident-sweep status         # every member: state, cause, last step and metric"
	@echo "  trident-sweep show 0         # member 0 as a command line that you can paste"
	@echo "  trident-sweep results        # one row per member; --format csv or json for programs"
	@echo "  trident-sweep                # all the verbs"

clean:  ## remove .venv, caches and builds; keep sweeps and runs
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch is installed first and separately: pip then does not look for another build of it.
$(VENV)/demo.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "error: Python %d.%d is too old; 3.11 or newer is needed\nhint: make PYTHON=python3.12 install" % v[:2])'
	@echo "Installing trident into $(VENV): about 2 GB; this takes some minutes, once"
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/contributor.stamp: $(VENV)/demo.stamp
	$(PIP) --editable '.[demo,dev,deepspeed,optuna,wandb]'
	@touch $@
