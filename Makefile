# Every target explains itself: `make help`. A bare Python 3.11 or later, make and the package registries are enough: the
# rest (uv, Node, PostgreSQL where the machine has none) comes from the lock files into .venv and tools/node/node_modules.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for candidate in python3.11 python3.12 python3.13 python3.14 python3; do \
  command -v $$candidate >/dev/null 2>&1 \
  && $$candidate -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  && { echo $$candidate; break; }; done)

# Tests run in this many processes, each with a PostgreSQL of its own: one more than there are cores, because many of them wait.
TEST_PROCESSES ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )))
# Extra arguments: make test ARGS="tests/db -k lease"
ARGS ?=

# Behind a company's proxy only the machine's own certificates will do; a bare container may have none.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem),)
export UV_SYSTEM_CERTS ?= 1
endif

STAMP := $(VENV)/.stamp-python
NODE_STAMP := tools/node/node_modules/.stamp
BENCH_STAMP := bench/node/node_modules/.stamp

.PHONY: help setup demo sandbox test check lint types generate generated format bench soak kills clean

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  \033[1m%-10s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install everything `demo` needs into .venv (other targets do it by themselves)

demo: $(STAMP) ## From nothing to a published video: Postgres, sandbox and a worker, watched live
	@$(BIN)/orbyt-worker demo $(ARGS)

sandbox: $(STAMP) $(NODE_STAMP) ## The same parts, kept running, with a Data API and an example app in the browser
	@$(BIN)/orbyt-worker sandbox $(ARGS)

test: $(STAMP) $(NODE_STAMP) ## All tests (ARGS="tests/db -k lease" for some)
	@$(BIN)/pytest -n $(TEST_PROCESSES) --maxprocesses 8 --dist worksteal $(ARGS)

check: lint types generated test ## What CI runs: lint, format, types, import arrows, generated files, tests

lint: $(STAMP) ## Ruff (rules and format) and the import arrows
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo

types: $(STAMP) ## Mypy, strict
	@$(BIN)/mypy

generate: $(STAMP) $(NODE_STAMP) ## Write every generated file again (error codes, settings table, schema dump, TypeScript)
	@$(BIN)/python -m orbyt_worker.generate
	@$(BIN)/python -m tools.schema_dump
	@$(BIN)/python -m tools.typescript

generated: $(STAMP)
	@$(BIN)/python -m orbyt_worker.generate --check

format: $(STAMP) ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(BENCH_STAMP) ## Benchmarks against four other queues; prints one table (ARGS="--quick", ARGS="drain wake")
	@$(BIN)/python -m bench $(ARGS)

soak: $(STAMP) ## Kills and faults at random, then videos of 2 and 10 GB (ARGS="--minutes 10 --no-videos")
	@$(BIN)/python -m bench.soak $(ARGS)

kills: $(STAMP) ## Kill a worker at every place of every kind of post, on every platform (an hour; `test` takes the decisive places)
	@ORBYT_KILL_ALL=1 $(BIN)/pytest -n $(TEST_PROCESSES) --maxprocesses 8 --dist worksteal tests/acceptance/test_kill_every_kind.py $(ARGS)

clean: ## Remove what make installed and what tools cached
	@rm -rf $(VENV) tools/node/node_modules bench/node/node_modules dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find orbyt_worker tests bench tools -name __pycache__ -type d -prune -exec rm -rf {} +

# Bootstrap ---------------------------------------------------------------------------------------------------------------

$(BIN)/uv:
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 or later with venv is needed (Debian: apt install python3 python3-venv)" >&2; exit 1; fi
	@echo "Setting up .venv with $$($(PYTHON) --version)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(STAMP): $(BIN)/uv pyproject.toml uv.lock
	@VIRTUAL_ENV= UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --locked --quiet --inexact --python $(BIN)/python
	@touch $@

# npm runs no package scripts (tools/node/.npmrc). Node is the wheel's, so nobody has to install it.
$(NODE_STAMP): $(STAMP) tools/node/package.json tools/node/package-lock.json
	@echo "Setting up tools/node/node_modules"
	@$(BIN)/python -m tools.npm ci --silent
	@touch $@

# What Orbyt is compared with: a dependency group and Node packages that nothing else needs.
$(BENCH_STAMP): $(STAMP) bench/node/package.json bench/node/package-lock.json
	@echo "Setting up the benchmark's peers"
	@VIRTUAL_ENV= UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --locked --quiet --inexact --group bench --python $(BIN)/python
	@$(BIN)/python -m tools.npm ci --silent --prefix ../../bench/node
	@touch $@
