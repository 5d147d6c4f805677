# Two commands do everything: make run, make test. README.md tells the rest.
PY := .venv/bin/python
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install install-check install-tests database run stop clean test check fast lint types bench lock

help: ## Tell what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

install: ## Install what the product needs (apt, Python, npm)
	@scripts/install.sh

install-check: # Linters, type checker and test tools, too
	@scripts/install.sh check

install-tests: # What only the tests need, too
	@scripts/install.sh tests

run: install ## Start everything and print URL and logins
	@$(PY) -m scloud.lab.stack up

stop: ## Stop everything that make run started
	@if [ -x $(PY) ]; then $(PY) -m scloud.lab.stack down; fi

clean: ## Stop, and remove all that was made (images stay in the cache)
	@if [ -x $(PY) ]; then $(PY) -m scloud.lab.stack wipe; $(PY) -m scloud.lab down --name test --wipe; \
	  $(PY) -m scloud.lab pg wipe; fi
	rm -rf .scloud .venv .uv node_modules static/vendor staticfiles .mypy_cache .ruff_cache .pytest_cache

lint: install-check ## Style, imports, templates
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	.venv/bin/lint-imports
	.venv/bin/djlint --check templates
	.venv/bin/djlint --lint templates

types: install-check ## mypy strict
	$(PY) -m mypy

check: lint types ## All checks that need no server
	$(PY) manage.py makemigrations --check --dry-run
	SCLOUD_HTTPS=1 $(PY) manage.py check --deploy --fail-level WARNING

database: install-tests
	@$(PY) -m scloud.lab pg up --no-fsync

fast: database ## Tests that need no hypervisor and no browser
	$(PY) -m pytest -q -m "not lab and not browser and not bench" -n 2

test: check database ## All checks and all tests, on real hypervisors
	scripts/test.sh

bench: database ## Benchmarks; writes docs/benchmarks.md
	$(PY) -m tests.bench

lock: install-check ## Pin what pyproject.toml names; UPGRADE=1 takes the newest releases
	scripts/lock.sh $(if $(UPGRADE),--upgrade)
