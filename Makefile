# Llavero. `make` lists what can be done; everything lands in .venv/ and instance/, what is measured in .bench/.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install lock demo test test-all check format bench bench-filled bench-authlib bench-captcha spec audit \
	components clean

VENV := .venv
ROUNDS ?= 3
SECONDS ?= 4
PYTHON := $(VENV)/bin/python
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONPATH := $(CURDIR)/kit:$(CURDIR)/examples:$(CURDIR)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PIP := $(PYTHON) -m pip install --quiet
CATALOGUES := $(patsubst %.po,%.mo,$(wildcard idp/translations/*/LC_MESSAGES/*.po))
CODE := idp kit examples tests tools demo bench migrations wsgi.py

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.demo $(CATALOGUES) ## provider, example mailbox and mail inbox, ready to sign in (DEMO_CFDI=DIR: your own invoices)
	@exec $(PYTHON) -m demo.run

install: $(VENV)/.dev $(CATALOGUES) ## all that tests and checks need, into .venv/

test: install ## the whole suite; installs Chromium, PostgreSQL and Redis if it may
	@tools/test-parts
	$(PYTHON) -m pytest -p tests.skips -n auto --dist loadgroup -m "not slow" $(PYTEST)

test-all: install ## the same and the long forms of its tests
	@tools/test-parts
	$(PYTHON) -m pytest -p tests.skips -n auto --dist loadgroup $(PYTEST)

check: install ## formatter, linter, types, import contracts, templates, spelling, translations
	ruff format --check $(wildcard $(CODE))
	ruff check $(wildcard $(CODE))
	mypy
	lint-imports --no-cache
	djlint --lint --quiet idp/templates examples demo/templates
	codespell $(wildcard $(CODE)) docs changes README.md CONTRIBUTING.md kit/README.md
	$(PYTHON) -m tools.check_translations

format: install ## put the code into the one format
	ruff format $(wildcard $(CODE))
	ruff check --fix $(wildcard $(CODE))

bench: install ## W1 to W8 against the peers, installed into .bench/ (ROUNDS=3 SECONDS=4 ONLY=node-redis WORK=W1,W4)
	$(PYTHON) -m bench.run --rounds $(ROUNDS) --seconds $(SECONDS) $(if $(ONLY),--only $(ONLY)) $(if $(WORK),--work $(WORK)) $(BENCH)

bench-filled: install ## W1 to W5 with five million tokens in the store against an empty one, SQLite and PostgreSQL
	$(PYTHON) -m bench.run --filled --rounds $(ROUNDS) --seconds $(SECONDS) $(if $(WORK),--work $(WORK)) $(BENCH)

bench-authlib: install ## client_credentials against the pattern of Authlib's documentation
	$(PYTHON) -m bench.token_endpoint

bench-captcha: install ## how many CAPTCHA images Tesseract solves, to stay below 2 % (apt-get install tesseract-ocr)
	$(PYTHON) -m bench.captcha_ocr

spec: install ## which requirement is proven by which test (SPEC=FILE: and which by none)
	@$(PYTHON) -m tools.spec $(SPEC)

lock: $(VENV)/.made ## pin the newest versions that fit requirements/*.in, with hashes
	$(PIP) uv
	for name in runtime demo tracing dev node audit; do \
		uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
			--no-emit-index-url --no-annotate --no-header \
			requirements/$$name.in --output-file requirements/$$name.txt; \
	done
	$(PYTHON) -m tools.components

audit: $(VENV)/.made ## known holes in what is locked: before each release, where there is a network; fails for any
	@$(PIP) --require-hashes -r requirements/audit.txt
	@# --strict: without it, a service that does not answer counts as "no known vulnerabilities".
	for name in runtime demo tracing dev node; do \
		pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r requirements/$$name.txt; \
	done

components: $(VENV)/.made ## docs/components.json: what a server consists of, as CycloneDX, from the locks
	$(PYTHON) -m tools.components

clean: ## remove .venv/ and what tools leave behind; instance/ and keys/ stay
	rm -rf $(VENV) .bench build dist *.egg-info kit/*.egg-info kit/build kit/dist .mypy_cache .ruff_cache .pytest_cache \
		.hypothesis .import_linter_cache tests/clients/node_modules $(CATALOGUES)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- what has been done already: one stamp for each step -------------------------------------------------------------

$(VENV)/.made:
	@tools/make-venv $(VENV)
	@touch $@

$(VENV)/.demo: $(VENV)/.made requirements/runtime.txt requirements/demo.txt setup.cfg pyproject.toml kit/pyproject.toml
	@echo "Installing the server and what the demo needs into $(VENV)/ (once, about a minute)"
	@$(PIP) --require-hashes -r requirements/runtime.txt -r requirements/demo.txt
	@# Folders cannot be installed under --require-hashes; what they depend on is there already.
	@$(PIP) --no-deps --no-build-isolation -e ./kit -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.demo requirements/dev.txt
	@echo "Installing what tests and checks need into $(VENV)/ (once, about a minute)"
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

%.mo: %.po | $(VENV)/.demo
	@pybabel --quiet compile --input-file $< --output-file $@
