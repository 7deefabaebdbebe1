# make setup       an environment in .venv with everything, compiled ops included and proved
# make test        set-up, then the test suite with coverage
# make demo        set-up, then the demonstration on drawn tissue (work_dirs/demo/report.html)
# make lint        set-up, then ruff and mypy
# make wheelhouse  every wheel that a machine without a network needs
# make clean       remove what builds and tests leave; make distclean also removes the environment
#
# PYTHON=python3.12       interpreter of a new environment
# VENV=/some/where        environment to use or make
# CONSTRAINTS=            install the newest versions instead of those that were tried
# TORCH_ARGS=...          more arguments for pip when it installs torch, such as an index of builds without CUDA
# WHEELHOUSE=DIR          install from the wheels in DIR, without a network
# PYTEST_ARGS=...         more arguments for pytest

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: setup test demo lint wheelhouse clean distclean FORCE

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= requirements/constraints.txt
TORCH_ARGS ?=
WHEELHOUSE ?=
PYTEST_ARGS ?=

PY := $(abspath $(VENV))/bin/python
STAMPS := $(abspath $(VENV))/.histomm
CONSTRAIN := $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
OFFLINE := $(if $(WHEELHOUSE),--no-index --find-links $(WHEELHOUSE))
INSTALL = $(PY) -m pip install --disable-pip-version-check $(CONSTRAIN) $(OFFLINE)
MMCV := $(if $(CONSTRAINTS),$(shell grep -s '^onedl-mmcv==' $(CONSTRAINTS)))

setup: $(STAMPS)/proved
	@cat $<

$(STAMPS)/venv: requirements/build.txt $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo 'PYTHON=$(PYTHON) is no Python 3.10 or newer'; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	mkdir -p $(STAMPS)
	$(INSTALL) -r requirements/build.txt
	touch $@

$(STAMPS)/torch: $(STAMPS)/venv
	$(INSTALL) $(TORCH_ARGS) torch torchvision
	touch $@

# changes only when torch does, whoever changed it
$(STAMPS)/key: FORCE $(STAMPS)/torch
	@$(PY) tools/setup/install_mmcv.py --key > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(STAMPS)/mmcv: $(STAMPS)/key requirements/mminstall.txt tools/setup/install_mmcv.py tools/setup/cxx20 tools/setup/nvcc20
	$(PY) tools/setup/install_mmcv.py $(or $(MMCV),onedl-mmcv) $(CONSTRAIN) $(if $(WHEELHOUSE),--wheelhouse $(WHEELHOUSE))
	touch $@

$(STAMPS)/packages: $(STAMPS)/mmcv $(wildcard requirements/*.txt)
	$(INSTALL) -r requirements/mminstall.txt -r requirements/runtime.txt -r requirements/detection.txt -r requirements/optional.txt -r requirements/tests.txt
	$(INSTALL) --no-deps -r requirements/nodeps.txt -r requirements/peers.txt
	touch $@

$(STAMPS)/histomm: $(STAMPS)/packages setup.py pyproject.toml MANIFEST.in histomm/version.py
	$(INSTALL) --no-build-isolation --no-deps --editable .
	touch $@

$(STAMPS)/proved: $(STAMPS)/histomm
	$(PY) tools/doctor.py --need-ops
	@echo 'histomm is set up in $(VENV); its compiled ops work' > $@

test: setup
	OMP_NUM_THREADS=1 $(PY) -m pytest -n logical --maxprocesses 8 --dist worksteal --cov=histomm --cov-report=term:skip-covered $(PYTEST_ARGS)

demo: setup
	$(PY) tools/demo.py

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy histomm/functional histomm/wsi

# the very versions of the environment, mmcv with its ops among them, and histomm
wheelhouse: setup
	mkdir -p wheelhouse
	$(PY) -m pip freeze --all --exclude-editable > wheelhouse/versions.txt
	$(PY) -m pip wheel --no-deps --wheel-dir wheelhouse $(TORCH_ARGS) $$(grep -E '^torch(vision)?==' wheelhouse/versions.txt)
	$(PY) -m pip wheel --no-deps --wheel-dir wheelhouse -r <(grep -vE '^(torch|torchvision|histomm)(==| @)' wheelhouse/versions.txt)
	$(PY) -m pip wheel --no-deps --no-build-isolation --wheel-dir wheelhouse .
	@echo 'the wheels are in wheelhouse; take it along and run `make setup WHEELHOUSE=DIR`'

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .coverage .coverage.*
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean
	@test ! -e $(VENV) -o -e $(VENV)/pyvenv.cfg || { echo 'VENV=$(VENV) is no environment'; exit 1; }
	rm -rf $(VENV)
