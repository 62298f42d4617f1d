PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
serving := .venv/serving
ready := .venv/ready
# Only where Node.js is new enough. The tests report a missing one.
tools := $(if $(shell node -p "process.versions.node >= '20' || ''" 2>/dev/null),node_modules/ready)
# worksteal keeps the tests of a file on one worker where possible, so that they share fixtures.
pytest := $(BIN)/python -m pytest --dist worksteal
# Each worker starts servers of its own. `make test` has more workers, because its tests often wait.
one_per_cpu := --numprocesses logical
lock = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock" $(UPGRADE)
# Into .venv, whatever pip.conf or the environment says of user, target, prefix and root.
pip = $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--no-user --target= --prefix="$(CURDIR)/.venv" --root=/
# pip may know a company's mirror, or a proxy's certificate, that uv does not.
install = $(BIN)/uv pip install --python $(BIN)/python --require-hashes -r $(1) || \
	{ echo "uv could not install every package, see above: trying pip."; \
	$(pip) --require-hashes -r $(1); }

# Let the tests' processes share compiled bytecode.
unexport PYTHONDONTWRITEBYTECODE
# Trust the system's certificate authorities, as pip and npm do.
export UV_SYSTEM_CERTS := 1

help: ## Show this list
	@awk -F ':.*## ' '/^##@/ {print "\n" substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-9s %s\n", $$1, $$2}' Makefile

##@ Run

run: $(serving) ## Serve the API on http://127.0.0.1:8000, with a PostgreSQL of its own; reads .env
	@$(BIN)/python -m dev.serve --port $(PORT) --env-file .env

##@ Test

test: $(ready) $(tools) ## Run the tests that are not marked slow, in under two minutes
	@$(pytest) --numprocesses 4 -m "not slow"

test-all: $(ready) $(tools) ## Run every test, then those of the API again through PgBouncer
	@$(pytest) $(one_per_cpu) $(SOAK)
	@$(pytest) $(one_per_cpu) $(SOAK) --pgbouncer

soak: ## Run every test at its long size
	@$(MAKE) test-all SOAK=--soak

verify: export CORS_ORIGINS ?= http://localhost:3000,http://localhost:5173
verify: $(ready) ## Run the tests of the API against a deployed stage (URL=https://..., QUICK=1: in 20 seconds)
	@$(BIN)/python -m pytest -r fEs --url $(or $(URL),$(error make verify URL=https://...)) $(if $(QUICK),--quick)

bench: $(ready) ## Measure what a request costs, and write it into docs/performance.md (QUICK=1: only look, in a minute)
	@$(BIN)/python -m dev.bench $(if $(QUICK),--quick,--write)

check: $(ready) ## Check style, types and workflows
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/zizmor --offline --quiet .github
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml

audit: $(serving) ## Look for known vulnerabilities in the locked packages
	@$(BIN)/uv tool run pip-audit==2.10.1 --disable-pip --requirement dev/requirements-dev.txt
	@npm audit

##@ Change

openapi: $(serving) ## Write docs/openapi.json anew
	@$(BIN)/python -m dev.openapi > docs/openapi.json

revision: $(ready) ## Write the next revision of the schema from the models (NAME=due_at)
	@$(BIN)/python -m dev.revision $(NAME)

# Packages that are already pinned stay as they are, unless UPGRADE=--upgrade.
lock: $(serving) ## Pin what pyproject.toml asks for, and all that it needs
	@$(lock) pyproject.toml --output-file requirements.txt
	@$(lock) --group uv --output-file dev/requirements-uv.txt
	@for group in run dev; do $(lock) pyproject.toml --group $$group --constraint requirements.txt \
		--output-file dev/requirements-$$group.txt || exit 1; done

##@ Deploy

deploy: $(if $(STAGE),$(serving) $(tools)) ## Deploy a stage (STAGE=dev; PARAMS='--param tracing=true' for more options)
	$(if $(STAGE),,$(error Name the stage: make deploy STAGE=dev, STAGE=prod or STAGE=branch-NAME))
	$(if $(tools),,$(error A deploy needs Node.js 20.19, 22.13, 24 or newer, with npm))
	@PATH="$(CURDIR)/$(BIN):$$PATH" node_modules/.bin/serverless deploy --stage "$(STAGE)" $(PARAMS)

migrate: $(serving) ## Migrate the database that NEON_DATABASE_URL names (REVISION=-1: one revision back)
	@$(BIN)/python -m migrations $(REVISION)

zip: $(serving) ## Build the Lambda zip
	@PATH="$(CURDIR)/$(BIN):$$PATH" python deploy/build.py

$(serving): dev/requirements-uv.txt dev/requirements-run.txt dev/check_machine.py
	@$(PYTHON) dev/check_machine.py
	@echo "Installing what the local server needs ..."
	@$(PYTHON) -m venv --clear .venv
	@$(pip) -r dev/requirements-uv.txt
	@$(call install,dev/requirements-run.txt)
	@touch $@

$(ready): $(serving) dev/requirements-dev.txt
	@echo "Installing what the tests and tools need ..."
	@$(call install,dev/requirements-dev.txt)
	@touch $@

node_modules/ready: package.json package-lock.json .npmrc
	@echo "Installing into node_modules ..."
	@npm ci --silent
	@touch $@

.PHONY: help run test test-all soak verify bench check audit openapi revision lock deploy migrate zip
