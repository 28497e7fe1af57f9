# Needs GNU make (3.81 or newer) and Python 3.11.5 to 3.14; everything else is installed into .venv.

BUDGET =
TASKS = all
RESULTS = results
RUNS = results/recorded
SEED = 0
CASES = 1000
JOBS = 2
DEVICE = cpu
LAB =

ENV = .venv
RUN = $(ENV)/bin/python

# Variables are taken from make's command line only: the user's environment may have others of the same names.

# The interpreter that .venv is made with: the first that is admitted, unless PYTHON names one.
PYTHONS = 3.11.5 to 3.14
ADMITTED = import sys; sys.exit(not (3, 11, 5) <= sys.version_info[:3] < (3, 15))
PYTHON = $(shell for each in python3 python python3.12 python3.11 python3.13 python3.14; do \
	if $$each -c "$(ADMITTED)" 2>/dev/null; then echo $$each; break; fi; done)

# USE_CONDA=1 makes .venv with mamba or conda, and it stays a conda environment until `make clean`.
USE_CONDA = $(if $(wildcard $(ENV)/conda-meta),1)
CONDA_TOOL = $(shell for each in mamba conda micromamba; do \
	if command -v $$each >/dev/null 2>&1; then echo $$each; break; fi; done)
STAMP = $(ENV)/.made-with-$(if $(USE_CONDA),conda,venv)

# Of pip's settings in the environment, those stay that say where packages come from. Others, such as PIP_USER or
# PIP_TARGET, would put the packages elsewhere, and so would PYTHONPATH and PYTHONHOME take them from elsewhere.
PIP_KEPT = $(addprefix PIP_,INDEX_URL EXTRA_INDEX_URL NO_INDEX FIND_LINKS PROXY CERT CLIENT_CERT TRUSTED_HOST \
	CACHE_DIR NO_CACHE_DIR CONFIG_FILE DEFAULT_TIMEOUT TIMEOUT RETRIES KEYRING_PROVIDER)
unexport PYTHONPATH PYTHONHOME $(filter-out $(PIP_KEPT),$(filter PIP_%,$(.VARIABLES)))
HOME ?= /dev/null
export HOME
PIP_INSTALL = $(RUN) -m pip install --disable-pip-version-check --quiet --no-user

.DEFAULT_GOAL := help
.PHONY: help env test quick reproduce verify table compare recorded report lab lint clean

help: ## list the targets and the variables
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Variables, with their defaults (example: make reproduce TASKS=\"copy swap\" BUDGET=600):"
	@printf '  %-23s %s\n' \
		'TASKS="$(TASKS)"' 'keys of the tasks to train, or all of them' \
		'BUDGET=$(BUDGET)' 'seconds of training per task at most, evaluation on top (each task has its own)' \
		'SEED=$(SEED)' 'everything random starts from it' \
		'CASES=$(CASES)' 'fresh cases behind every measured error' \
		'RESULTS=$(RESULTS)' 'folder for runs, tables and figures' \
		'RUNS=$(RUNS)' 'what make verify measures: a folder of runs, or a run' \
		'JOBS=$(JOBS)' 'tasks at a time; they share the cores' \
		'DEVICE=$(DEVICE)' 'cpu or cuda' \
		'LAB=$(LAB)' 'options of jupyterlab, such as "--allow-root --no-browser" in a container' \
		'PYTHON=' 'interpreter to make .venv with, $(PYTHONS) (the first one found)' \
		'USE_CONDA=' '1 to make .venv with mamba or conda'

env: $(STAMP) ## make the environment in .venv from requirements.lock (USE_CONDA=1: with mamba or conda)

# Updates a working .venv; makes a half-made one again. One whose interpreter runs is never cleared.
$(ENV)/.made-with-venv: requirements.lock pyproject.toml
	@if ! $(RUN) -c "" 2>/dev/null; then \
		python="$(PYTHON)"; \
		if [ -z "$$python" ]; then \
			echo "No Python $(PYTHONS) found; name one: make env PYTHON=/path/to/python3.12" >&2; exit 1; fi; \
		"$$python" -c "$(ADMITTED)" || { echo "$$python is not Python $(PYTHONS)" >&2; exit 1; }; \
		echo "$$python -m venv --clear $(ENV)"; \
		"$$python" -m venv --clear $(ENV) || exit 1; \
	fi
	@$(RUN) -c "$(ADMITTED)" || { echo "$(ENV) is not of Python $(PYTHONS): make clean" >&2; exit 1; }
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(RUN) -m ensurepip
	@echo "Installing requirements.lock into $(ENV): about 2 GB (6 GB with a CUDA build of torch), some minutes the first time"
	$(PIP_INSTALL) --requirement requirements.lock
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@$(RUN) -m pip show --quiet torch nram || { echo "pip installs elsewhere: see pip config list" >&2; exit 1; }
	@touch $@

# Updates a conda environment; leaves another one alone.
$(ENV)/.made-with-conda: requirements.lock pyproject.toml environment.yml
	@if [ -z "$(CONDA_TOOL)" ]; then echo "USE_CONDA=1 needs mamba, conda or micromamba on the PATH" >&2; exit 1; fi
	@if [ -e $(ENV) ] && [ ! -e $(ENV)/conda-meta ]; then \
		echo "$(ENV) is not a conda environment; make clean removes it" >&2; exit 1; fi
	CONDA_ALWAYS_YES=1 MAMBA_ALWAYS_YES=1 $(CONDA_TOOL) env $(if $(wildcard $(ENV)/conda-meta),update,create) \
		--prefix "$(CURDIR)/$(ENV)" --file environment.yml
	@touch $@

test: $(STAMP) ## run all tests
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(RUN) -m pytest -q --numprocesses 2 --dist worksteal

quick: $(STAMP) ## run the tests that are not marked slow, in about a minute
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(RUN) -m pytest -q --numprocesses 2 --dist worksteal -m "not slow"

reproduce: $(STAMP) ## train and evaluate the tasks, execute the notebooks, write and print Table 1
	$(RUN) -m nram reproduce --tasks "$(TASKS)" $(if $(BUDGET),--budget $(BUDGET)) --seed $(SEED) --cases $(CASES) \
		--results "$(RESULTS)" --jobs $(JOBS) --device $(DEVICE)

verify: $(STAMP) ## measure the recorded runs on fresh cases; fail if a number moved outside its interval
	$(RUN) -m nram verify "$(RUNS)" --cases $(CASES)

table: $(STAMP) ## write and print Table 1 of your runs
	$(RUN) -m nram reproduce --results "$(RESULTS)" --table-only

compare: $(STAMP) ## print your runs beside the recorded ones and the paper
	$(RUN) -m nram compare --mine "$(RESULTS)/runs"

recorded: $(STAMP) ## execute the notebooks on the recorded runs, renew the README's tables and picture
	$(RUN) -m nram recorded

report: $(STAMP) ## write results/report/index.html: tables, curves, traces to step through, notebooks
	$(RUN) -m nram report --out "$(RESULTS)/report"

lab: $(STAMP) ## open JupyterLab on the notebooks
	JUPYTER_PATH="$(CURDIR)/$(ENV)/share/jupyter$${JUPYTER_PATH:+:$$JUPYTER_PATH}" $(RUN) -m jupyterlab notebooks $(LAB)

lint: $(STAMP) ## check style and format, and that the notebooks are stored without outputs
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m nbstripout --verify --keep-id --extra-keys metadata.papermill notebooks/*.ipynb

clean: ## remove the environment and caches; results stay
	rm -rf $(ENV) .pytest_cache .ruff_cache .hypothesis *.egg-info
	find nram tests notebooks -name __pycache__ -prune -exec rm -rf {} +
