# Two commands do everything: make run, make test. See README.md for the rest.
PY := .venv/bin/python
SHELL := /bin/bash
# Namespaces, bridges and the private PostgreSQL need root.
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),sudo --preserve-env)
.DEFAULT_GOAL := help
.PHONY: help install install-check install-tests database run stop clean test check fast lint lint-now types \
  bare audit chaos mutants api soak bench lock

help: ## Tell what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

install: ## Install what the product needs (apt, Python, npm)
	@STORAGE=$(STORAGE) scripts/install.sh

install-check: # Linters, type checker and test tools, too
	@scripts/timed.sh "packages of checks" scripts/install.sh check

install-tests: # What only the tests need, too
	@scripts/timed.sh "packages of tests" scripts/install.sh tests

run: install ## Start everything and print URL and logins (STORAGE=ceph: with a Ceph cluster)
	@$(AS_ROOT) $(PY) -m scloud.lab.stack up $(if $(STORAGE),--storage $(STORAGE))

stop: ## Stop everything that make run started
	@if [ -x $(PY) ]; then $(AS_ROOT) $(PY) -m scloud.lab.stack down; fi

clean: ## Stop, and remove all that was made (images stay in the cache)
	@if [ -x $(PY) ]; then $(AS_ROOT) $(PY) -m scloud.lab.stack wipe; \
	  $(AS_ROOT) $(PY) -m scloud.lab down --name test --wipe; $(AS_ROOT) $(PY) -m scloud.lab pg wipe; fi
	$(AS_ROOT) rm -rf .scloud .venv .uv node_modules static/vendor staticfiles .mypy_cache .ruff_cache .pytest_cache

lint: install-check ## Style, imports, templates
	@scripts/timed.sh "style, imports, templates" $(MAKE) --no-print-directory lint-now

lint-now:
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	.venv/bin/lint-imports
	.venv/bin/djlint --check templates
	.venv/bin/djlint --lint templates

types: install-check ## mypy strict
	@scripts/timed.sh types $(PY) -m mypy

check: lint types ## All checks that need no server
	$(PY) manage.py makemigrations --check --dry-run
	SCLOUD_HTTPS=1 SCLOUD_PROXY=none $(PY) manage.py check --deploy --fail-level WARNING
	scripts/api_current.sh

database: install-tests
	@$(AS_ROOT) $(PY) -m scloud.lab pg up --no-fsync

fast: database ## Tests that need no hypervisor and no browser
	$(AS_ROOT) $(PY) -m pytest -q -m "not lab and not browser and not ceph and not install and not bench" -n 2 --durations 15

test: database ## All checks and all tests, on real hypervisors
	@$(AS_ROOT) $(PY) -m tests.template & template=$$!; \
	  $(MAKE) --no-print-directory check; checked=$$?; wait $$template && exit $$checked
	$(AS_ROOT) scripts/test.sh

bare: ## A newcomer's walk in a minimal Debian, as root and as a user with sudo (half an hour)
	scripts/bare.sh

audit: install-check ## Known holes in what is locked; says so when it has no advisory data
	@$(PY) scripts/audit.py

chaos: install-tests ## 600 random verbs of three tenants while processes are killed (VERBS=600 SEED=1)
	$(AS_ROOT) $(PY) -m tests.chaos --verbs $(or $(VERBS),600) --seed $(or $(SEED),1)

mutants: database ## Change the core in small ways; the tests must notice (SAMPLE=200 SEED=1)
	$(AS_ROOT) $(PY) scripts/mutants.py --sample $(or $(SAMPLE),200) --seed $(or $(SEED),1) $(if $(ONLY),--only $(ONLY))

api: install-check ## Write docs/api.yaml
	$(PY) manage.py spectacular --file docs/api.yaml --validate --fail-on-warn

soak: database ## Long random runs: verbs and faults, API requests, chaos (STEPS=2000 GUESTS=1 API_MINUTES=15 VERBS=600 SEED=7)
	$(AS_ROOT) scripts/soak.sh

bench: database ## Benchmarks; writes docs/benchmarks.md
	$(AS_ROOT) $(PY) -m tests.bench

lock: install-check ## Pin what pyproject.toml names; UPGRADE=1 takes the newest releases
	scripts/lock.sh $(if $(UPGRADE),--upgrade)
