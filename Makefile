# The commands of the course. `make` alone lists them.
PYTHON ?= python3
# extra arguments for pip when it installs torch (README: a smaller torch), and for JupyterLab
TORCH_ARGS ?=
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
OFFLINE := HF_HUB_OFFLINE=1
# two test files at a time, one thread each: small models use a second core badly
PARALLEL := -n 2 --dist loadfile
# by name: by number of tests, as xdist would have it, the long file of few tests comes last and one core waits for it
BY_NAME := --no-loadscope-reorder
# what takes longest is said at the end, so that the whole can be kept within 15 minutes
SLOWEST := --durations=25
ONE_THREAD := OMP_NUM_THREADS=1
# JupyterLab would ask its makers for news and updates, and you whether it may; nothing of the course leaves the machine
QUIET := --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate
SETTINGS := JUPYTER_CONFIG_PATH="$(CURDIR)/course_lib/notebook/jupyter"

# pip leaves the packages uncompiled, which halves the set-up; Python compiles what a run imports, once
unexport PYTHONDONTWRITEBYTECODE

# a .venv that came along when the folder was copied or moved still points to the old place
HERE := grep -qsF " $(CURDIR)/.venv" .venv/pyvenv.cfg
ifneq ($(shell $(HERE) && echo yes),yes)
.PHONY: .venv/ready
endif

.PHONY: help setup course test quick lint lab notebooks base-encoder source-models recorded-runs tables bench clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' Makefile

setup: .venv/ready  ## make .venv and install the pinned packages

course: .venv/ready  ## prepare the corpus, train what the course teaches, print the comparison; resumable
	$(BIN)/course compare $(ARGS)

test: lint  ## lint, unit, oracle and property tests, then every notebook in the smoke profile; no network
	$(OFFLINE) $(ONE_THREAD) $(BIN)/python -m pytest tests --ignore=tests/benchmarks $(PARALLEL) $(BY_NAME) $(SLOWEST)
	$(OFFLINE) $(ONE_THREAD) COURSE_PROFILE=smoke $(BIN)/python -m pytest notebooks $(PARALLEL) $(BY_NAME) \
		--nbval-lax --nbval-current-env --nbval-cell-timeout=300 $(SLOWEST)

quick: lint  ## lint and the unit tests that need no browser, notebook, pipeline or other library
	$(OFFLINE) $(ONE_THREAD) $(BIN)/python -m pytest tests --ignore=tests/benchmarks -m "not slow" $(PARALLEL) $(BY_NAME) $(SLOWEST)

lint: .venv/ready  ## check names, imports and layout of the code with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lab: .venv/ready  ## open the notebooks in JupyterLab
	$(SETTINGS) $(BIN)/python -m jupyterlab $(QUIET) --LabApp.default_url=/lab/tree/00_start_here.ipynb $(ARGS) notebooks

notebooks: .venv/ready  ## run every notebook again, in place, in the cpu profile
	COURSE_PROFILE=cpu $(BIN)/python -m course_lib.notebook.build

base-encoder: .venv/ready  ## train data/base-encoder again, from packages it downloads; needs a GPU; resumable
	$(BIN)/python -m course_lib.recipes.base_encoder $(ARGS)

source-models: .venv/ready  ## train the query generator and the cross-encoder again; hours
	$(BIN)/python -m course_lib.recipes.source_models $(ARGS)

recorded-runs: .venv/ready  ## make the records in data/recorded-runs that are missing; hours, and resumable
	$(BIN)/python -m course_lib.recipes.recorded_runs $(ARGS)

tables: .venv/ready  ## write the tables of README.md again, from the records that ship
	$(BIN)/python -m course_lib.recipes.tables

bench: .venv/ready  ## measure training and encoding against sentence-transformers, on a GPU too where there is one
	$(OFFLINE) $(BIN)/python -m pytest tests/benchmarks -s -p no:cacheprovider

clean:  ## remove .venv and what tests leave here; the corpus and the trained runs in your cache stay
	rm -rf .venv .pytest_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and with its dependencies, because they differ by machine (CUDA or none);
# the rest of the lock is complete, so pip has nothing to resolve
.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c '$(SUPPORTED)' || { echo "The course needs Python 3.11, 3.12 or 3.13, and '$(PYTHON)' is not one of \
	them. Install one, or name it: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@test -w . || { echo "This folder is read-only, and the set-up writes .venv here. Copy the folder to a place of \
	your own and run 'make $(MAKECMDGOALS)' there, or ask its owner to run 'make setup' once for everybody." >&2; exit 1; }
	@$(HERE) && $(BIN)/python -c 'import pip; $(SUPPORTED)' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@echo "Installing the pinned packages into .venv, once; torch, the largest, comes first."
	$(PIP) install --no-compile $(TORCH_ARGS) --constraint requirements.lock "$$(grep '^torch==' requirements.lock)"
	$(PIP) install --no-compile --quiet --no-deps --requirement requirements.lock
	$(PIP) install --no-compile --quiet --no-deps --no-build-isolation --editable .
	@mkdir -p .venv/etc/ipython/startup && cp course_lib/notebook/errors.py .venv/etc/ipython/startup/course.py
	@touch $@
