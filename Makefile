# The commands of a checkout. `make` alone lists them.

PYTHON ?= python3
UV_VERSION := 0.13.8

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
UV_COMPILE = .venv-lock/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-header --no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade) pyproject.toml --all-extras

.DEFAULT_GOAL := help
.PHONY: help setup demo test coverage mutants bench bench-growth bench-docs torture requirements attacks clients lint format lock sbom wheel screenshots clean
.DELETE_ON_ERROR:

help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

setup: .venv/.installed  ## Make .venv with everything of requirements-dev.lock, and gatepost itself from this checkout

demo: setup  ## Run both servers and a mailbox on this machine, and print what to paste
	@$(BIN)/gatepost demo

test: setup  ## Run the whole suite
	@$(BIN)/python -m pytest

bench: setup  ## Measure both servers, their peers and the floor in one run (half an hour; BENCH=--help: less): var/bench
	@$(BIN)/python bench/compare.py $(BENCH)

bench-growth: setup  ## Measure growth to 10 million connections, memory, workers (an hour, 25 GB; BENCH=--help): var/bench
	@$(BIN)/python bench/growth.py $(BENCH)

bench-docs: setup  ## Write tables and chart of docs/performance.md and README anew from bench/results
	@$(BIN)/python bench/figures.py $(BENCH)

coverage: setup  ## Run the suite (TESTS=path: a part of it) and say how many branches of both packages it reached
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(TESTS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report $(if $(TESTS),--fail-under=0)

mutants: setup  ## Break the code in small ways and count what the tests notice (MODULES=gatepost_idp.pkce; else hours)
	@$(BIN)/python -m tests.mutants $(MODULES)

requirements: setup  ## Write docs/requirements.md anew: what the standards ask, and which tests hold it
	@$(BIN)/python -m tests.standards.page

attacks: setup  ## Write docs/security/attacks.md anew: each attack, and the tests that stop it
	@$(BIN)/python -m tests.attacks

clients: setup  ## Run every client of others there is, then write docs/clients.md anew
	@$(BIN)/python -m tests.interop.table

torture: setup  ## Kill, stop, fill and race the servers at full size (hours; ROW=codes: one row): docs/reliability.md
	@$(BIN)/python -m tests.torture $(ROW)

lint: setup  ## ruff, mypy strict, and which way imports run
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## Sort imports and format
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .

lock: .venv-lock/.made-$(UV_VERSION)  ## Write both lock files anew (UPGRADE=1 takes the newest releases)
	$(UV_COMPILE) --output-file requirements.lock
	$(UV_COMPILE) --group dev --constraints requirements.lock --output-file requirements-dev.lock

sbom: setup  ## Write dist/gatepost.cdx.json: what an installation consists of, as CycloneDX, from the hashed lock
	@mkdir -p dist
	@$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible --validate \
		--output-file dist/gatepost.cdx.json

wheel: setup  ## Build the source distribution, and the wheel from it, into dist/
	$(BIN)/python -m build --no-isolation

screenshots: setup  ## Make pictures of pages and mail: docs/images, and all in both schemes in screenshots/ (Chromium)
	@$(BIN)/python -m tests.screenshots

clean:  ## Remove .venv, caches and what was built; var/ (the demo's data) stays
	rm -rf .venv .venv-lock dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov
	find idp resource tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps, so that a second run is instant and an interrupted one is taken up where it stopped.

.venv/.made:
	$(call make_venv,.venv)
	@touch $@

.venv/.locked: requirements-dev.lock .venv/.made
	$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

.venv/.installed: pyproject.toml .venv/.locked
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv-lock/.made-$(UV_VERSION):
	$(call make_venv,.venv-lock)
	.venv-lock/bin/python -m pip --disable-pip-version-check install --quiet uv==$(UV_VERSION)
	@touch $@

# Makes a virtual environment, or says what is missing for one.
define make_venv
	@command -v "$(PYTHON)" >/dev/null || { echo >&2 "Gatepost needs Python 3.11 to 3.14, and '$(PYTHON)' was not found." \
		"On Debian: apt-get install python3 python3-venv"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || { \
		echo >&2 "Gatepost needs Python 3.11 to 3.14; '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1)." \
		"With another one: make setup PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo >&2 "'$(PYTHON)' cannot make virtual environments: ensurepip is missing." \
		"On Debian: apt-get install python3-venv"; exit 1; }
	"$(PYTHON)" -m venv --clear $(1)
endef
