PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
ready := .venv/ready
# Where Node.js is missing or too old, the tests that need it say so.
tools := $(if $(shell node -p "process.versions.node >= '20' || ''" 2>/dev/null),node_modules/ready)
# Neighbours stay together, as far as it goes, so that what they share is made once.
pytest := $(BIN)/python -m pytest --numprocesses 3 --dist worksteal
lock = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock" $(UPGRADE)

# Or each of the many processes that the tests start would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

run: $(ready) ## Serve the API on http://127.0.0.1:8000, with a PostgreSQL of its own
	@$(BIN)/python -m dev.serve --port $(PORT)

test: $(ready) $(tools) ## Run every test, then those of the API again through PgBouncer
	@$(pytest) $(SOAK)
	@$(pytest) $(SOAK) --pgbouncer

soak: ## Run the same tests at their long sizes
	@$(MAKE) test SOAK=--soak

bench: $(ready) ## Measure what a request costs, and write it into the README (QUICK=1: only look, in a minute)
	@$(BIN)/python -m bench $(if $(QUICK),--quick,--write)

check: $(ready) ## Check style and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

openapi: $(ready) ## Write docs/openapi.json anew
	@$(BIN)/python -m dev.openapi > docs/openapi.json

migrate: $(ready) ## Migrate the database that NEON_DATABASE_URL names
	@$(BIN)/python -m migrations

zip: $(ready) ## Build the Lambda zip
	@PATH="$(CURDIR)/$(BIN):$$PATH" python deploy/build.py

# Packages that are already pinned stay as they are, unless UPGRADE=--upgrade.
lock: $(ready) ## Pin what pyproject.toml asks for, and all that it needs
	@$(lock) --output-file requirements.txt
	@$(lock) --group dev --constraint requirements.txt --output-file requirements-dev.txt

$(ready): requirements.txt requirements-dev.txt dev/check_machine.py
	@$(PYTHON) dev/check_machine.py
	@$(PYTHON) -m venv --clear .venv
	@echo "Installing into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

node_modules/ready: package.json package-lock.json .npmrc
	@echo "Installing into node_modules ..."
	@npm ci --silent
	@touch $@

.PHONY: help run test soak bench check openapi migrate zip lock
