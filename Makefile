# Needs make and Python 3.11 or newer; everything else goes into .venv from the hash-pinned locks.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
PORT ?= 8000
DATA_DIR ?= data
SBOM ?= dist/sbom.json
TEST_PROCESSES ?= 2
TESTS ?= tests
PYTEST_FLAGS ?=
UV ?= uv
# New releases cool down for one week before a lock takes them: most bad uploads are found sooner.
LOCK_DATE ?= $(shell date -u -d '7 days ago' +%F)

PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet --quiet --no-deps
# A venv that satisfies the first lock satisfies the ones after it: the locks agree on every version.
define install
	@echo "Installing requirements/$(firstword $(1)).txt into $(VENV)"
	@$(PIP) --require-hashes -r requirements/$(firstword $(1)).txt
	@$(PIP) --no-build-isolation -e .
	@mkdir -p $(STAMPS) && touch $(addprefix $(STAMPS)/,$(1))
endef
LOCK_FLAGS := --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 --upgrade --quiet
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock LOCK_DATE=$(LOCK_DATE)" \
	$(UV) pip compile $(LOCK_FLAGS) --exclude-newer $(LOCK_DATE) pyproject.toml requirements/build.in

# A word of `make load` counts when it is said there, and not because the shell happens to know it.
said = $(if $(filter command%,$(origin $(1))),$(2) '$($(1))')

.PHONY: help setup run demo test check faults bench load lock audit sbom

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(STAMPS)/serve ## Make .venv with what the service needs (run and test do it by themselves)

run: $(STAMPS)/serve ## Start the service on PORT (8000) with its data in DATA_DIR (data)
	@exec $(BIN)/promobandit serve --port $(PORT) --data-dir $(DATA_DIR)

demo: $(STAMPS)/demo ## Start the service and a simulated marketing system, with a live view
	@exec $(BIN)/python -m loadtests.demo

test: $(STAMPS)/dev ## Run every test: real servers, simulations, whole processes
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadgroup $(PYTEST_FLAGS) $(TESTS)

check: $(STAMPS)/dev ## Format, lint, types, layers and the fast tests, in under a minute
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@{ $(BIN)/mypy && $(BIN)/lint-imports --no-logo; } & rules=$$!; \
	$(BIN)/python -m pytest -q -n $(TEST_PROCESSES) -m "not integration and not statistical and not e2e" \
		tests/unit tests/contract tests/api tests/architecture; fast=$$?; \
	wait $$rules && exit $$fast

faults: $(STAMPS)/dev ## Break everything that can break, and write what happened to docs/reliability.md
	@$(BIN)/python -m tests.faults --write-docs

bench: $(STAMPS)/dev ## Measure the speed table as ratios, in one run
	@$(BIN)/python -m loadtests.bench

load: $(STAMPS)/dev ## Load the service for a minute: are the promises kept? (SHAPE SECONDS DATABASE REDIS URL DOCS)
	@$(BIN)/python -m loadtests.load $(call said,SHAPE,--shape) $(call said,SECONDS,--seconds) \
		$(call said,DATABASE,--database) $(call said,REDIS,--redis) $(call said,URL,--url) \
		$(if $(call said,CEILING,),--ceiling) $(if $(call said,DOCS,),--write-docs)

lock: ## Pin the dependencies anew, as of one week ago (needs uv)
	@command -v $(UV) > /dev/null || { echo "make lock needs uv: pip install uv"; exit 1; }
	@$(COMPILE) --all-extras -o requirements/dev.txt
	@$(COMPILE) -c requirements/dev.txt --no-annotate -o requirements/base.txt
	@$(COMPILE) -c requirements/dev.txt --no-annotate --extra embedded -o requirements/serve.txt
	@$(COMPILE) -c requirements/dev.txt --no-annotate --extra embedded --extra demo -o requirements/demo.txt

# The development lock holds every pin of the others. --strict, because a service that knows none of
# the packages would otherwise count as one that knows of no vulnerability.
audit: $(STAMPS)/dev ## Look all pinned dependencies up for known vulnerabilities
	@told=$$($(BIN)/pip-audit --strict --require-hashes --disable-pip --progress-spinner off \
		--requirement requirements/dev.txt 2>&1) && printf '%s\n' "$$told" || { \
		case "$$told" in *Traceback*) told=$$(printf '%s\n' "$$told" | tail -n 1);; esac; printf '%s\n' "$$told"; \
		echo "make audit failed: a vulnerability is listed above, or the service that knows them could not be asked or does not know a package"; \
		exit 1; }

sbom: $(STAMPS)/dev ## List what the service is made of in SBOM (dist/sbom.json, CycloneDX)
	@mkdir -p $(dir $(SBOM))
	@PYTHONWARNINGS=ignore $(BIN)/cyclonedx-py requirements requirements/serve.txt --pyproject pyproject.toml \
		--output-reproducible --validate --output-file $(SBOM)

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "promobandit needs Python 3.11 or newer; say make PYTHON=...")'
	@$(PYTHON) -m venv $(VENV)

$(STAMPS)/serve: requirements/serve.txt pyproject.toml | $(BIN)/pip
	$(call install,serve)

$(STAMPS)/demo: requirements/demo.txt pyproject.toml | $(BIN)/pip
	$(call install,demo serve)

$(STAMPS)/dev: requirements/dev.txt pyproject.toml | $(BIN)/pip
	$(call install,dev demo serve)
