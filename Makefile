# Two commands for a fresh machine: `make demo` and `make test`. Each makes the environment it needs.
#
#   make test JAX='jax==0.10.0'    the quick suite with another JAX, in an environment of its own
#   make wheel                     build, install into a fresh environment, run the quickstart there

JAX ?=
VENV ?= .venv$(if $(JAX),-$(subst *,x,$(subst ==,-,$(JAX))))
BIN = $(VENV)/bin
WORKERS ?= 2

# The newest CPython that starts and can make an environment: a name on the path may be a shim of
# a version that is not there, or a Debian Python without ensurepip.
PYTHON ?= $(shell for minor in 13 12 11; do for name in python3.$$minor python3 python; do \
	"$$name" -c "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, $$minor) or \
	sys.implementation.name != 'cpython')" >/dev/null 2>&1 && { echo "$$name"; exit; }; done; done)

# Every process would compile its libraries anew in a shell that forbids bytecode: 5 s each.
export PYTHONDONTWRITEBYTECODE =
export PYTHONPYCACHEPREFIX = $(abspath $(VENV))/pycache

.PHONY: demo test test-docs test-oldest test-nightly test-slow test-all lint format types wheel clean

demo: $(VENV)/.installed
	$(BIN)/tempered-ebm train

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(WORKERS)

# The examples of README, docs/ and docstrings.
test-docs: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(WORKERS) -m docs

test-slow: $(VENV)/.installed-slow
	$(BIN)/python -m pytest -n $(WORKERS) -m slow

test-all: test lint types test-docs test-slow

# The oldest JAX that the package admits; `make test` has the newest.
test-oldest:
	$(MAKE) test JAX='jax==0.10.0'

# What JAX will be, past the bound of the package. Set PIP_EXTRA_INDEX_URL to JAX's index of nightly
# builds; without it this takes the newest pre-release.
test-nightly:
	$(MAKE) .venv-nightly/.installed VENV=.venv-nightly
	.venv-nightly/bin/python -m pip install --quiet --upgrade --pre jax jaxlib
	$(MAKE) test VENV=.venv-nightly

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed
	$(BIN)/mypy

wheel: $(VENV)/.installed
	rm -rf build dist
	$(BIN)/python -m pip install --quiet build
	$(BIN)/python -m build --outdir dist .
	$(PYTHON) -m venv --clear build/fresh
	build/fresh/bin/python -I -m pip install --quiet dist/*.whl
	$(BIN)/python -m tests.quickstart build/fresh/bin/python
	rm -rf build

$(VENV)/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "CPython 3.11, 3.12 or 3.13 with venv and ensurepip is needed; set PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[train,dev]' $(if $(JAX),'$(JAX)')
	@touch $@

$(VENV)/.installed-slow: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[train,dev,ray]' $(if $(JAX),'$(JAX)')
	@touch $@

clean:
	rm -rf .venv .venv-* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
