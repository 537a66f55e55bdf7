# make run    install FLUX into .venv and start it: needs git, make and Python 3.11 or newer
# make test   set up whatever the tests need and run them all
#
# Others: lint types twins unit interop test-long bench clean. ARGS are handed on:
#   make run ARGS="--config my.yaml"    make unit ARGS="-k flv"    make bench ARGS="--readers 500"

SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input install --quiet
TWINS := $(shell find flux media protocols -name "_*.pyx")
ARGS ?=
# Most tests wait for something: three at once keep two cores busy. What they give to programs is each
# worker's own: ports (tests/support/ports.py), networks, folders. 0: one test after the other.
WORKERS ?= 3
INTEROP_WORKERS ?= 2

# What is compiled once stays compiled, whatever the environment says: the tests start hundreds of
# processes, and pytest rewrites each of their files first.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test test-long lint types collected twins unit interop bench packages clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -5

$(VENV)/.installed: pyproject.toml scripts/make-venv hatch_build.py $(TWINS)
	@scripts/make-venv $(VENV)
	@echo "installing FLUX into $(VENV)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing what the tests need into $(VENV)"
	@$(PIP) --editable '.[dev]'
	@touch $@

packages:
	@scripts/install-packages
	@scripts/install-validators

# A machine may have got its compiler with the packages.
twins: $(VENV)/.installed-dev packages
	@$(PY) hatch_build.py

run: $(VENV)/.installed
	@exec $(PY) -m flux run $(ARGS)

test: $(VENV)/.installed-dev packages twins
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory -j2 types collected
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory interop

# FLUX_LONG_REPORT=docs/test-long.md keeps the results on that page.
test-long: test
	$(PY) -m pytest -q -p tests.support.long_report -m "long or hypothesis" \
		--hypothesis-profile=many $(ARGS)

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.installed-dev
	$(VENV)/bin/mypy

# Has every test file compiled once, on the core that mypy leaves idle.
collected: $(VENV)/.installed-dev
	@mkdir -p .cache
	@$(PY) -m pytest -qq --collect-only > .cache/collected.txt || { cat .cache/collected.txt; exit 1; }

# What has compiled twins, and what is nearest to it, is tested without them too.
PURE := tests/media/mpegts tests/flux/net tests/protocols/srt/test_connection.py \
	tests/protocols/srt/test_endpoint.py tests/flux/bridges/mpegts

# The plugins are not used, and each worker would import them.
unit: $(VENV)/.installed-dev
	$(PY) -m pytest -q -m "not interop and not long" --ignore=tests/interop --ignore=tests/browser \
		-p no:schemathesis -p no:anyio -n $(WORKERS) --dist worksteal $(ARGS)
	@test -n "$(ARGS)" || { set -x; FLUX_PURE=1 $(PY) -m pytest -q -m "not interop and not long" $(PURE) \
		-p no:schemathesis -p no:anyio -n $(WORKERS) --dist worksteal; }

interop: $(VENV)/.installed-dev packages
	$(PY) -m pytest -q -m "interop and not long" -n $(INTEROP_WORKERS) --dist loadfile \
		--no-loadscope-reorder $(ARGS)

bench: $(VENV)/.installed-dev packages
	$(PY) -m benchmarks.fanout $(ARGS)

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find flux media protocols -name "_*.so" -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
