# The ways to set up, run and check the project. `make` alone lists them.
# The environment is .venv, with the versions of requirements.lock. It is made the first time, and again when the lock or pyproject.toml
# changes: `make demo` and `make ui` install what they run, `make test` and what else checks the rest on top (docs/installing.md).

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Python for .venv: PYTHON=/path/to/python3.12, else the first of these that is 3.11 to 3.13.
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3 python3.12 python3.13 python3.11)
PROFILE ?= demo
PORT ?= 3000
PYTEST_ARGS ?=
TEST_WORKERS ?= 2
TOPIC ?=
INTO ?= storage/walk_forward
TAG ?=

VENV := .venv
BIN := $(VENV)/bin
# A test that hangs ends the run with the stacks of its threads, instead of holding CI until it is stopped.
HANGS := -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true --max-worker-restart=0
# Written last: by the installation of what the demo runs, and by that of everything.
CORE := $(VENV)/.installed
EVERYTHING := $(VENV)/.complete

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/' | expand -t 17

.PHONY: setup
setup: $(CORE) ## Install what the demo runs into .venv and nothing else

.PHONY: demo
demo: $(CORE) ## Run every asset on the simulated market; ends with the picks and the report's path
	@$(BIN)/quant demo

.PHONY: ui
ui: $(CORE) ## Dagster's web UI and the pages that it links to, on loopback (PROFILE=demo, PORT=3000)
	@exec $(BIN)/quant ui --profile $(PROFILE) --port $(PORT)

.PHONY: test
test: lint ## Lint, then run the tests (PYTEST_ARGS='-k garch', TEST_WORKERS=2)
	$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder $(HANGS) $(PYTEST_ARGS)

.PHONY: quick
quick: lint ## Lint and the tests that are not marked slow, in less than a minute
	$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder -m 'not slow' $(PYTEST_ARGS)

.PHONY: nightly
nightly: $(EVERYTHING) ## The slowest tests: 10,000 wrong inputs, false alarms of the audit, a quarter of sessions with a killed daemon
	FUZZ_CASES=10000 $(BIN)/pytest quant_assets_tests/test_fuzz.py $(PYTEST_ARGS)
	$(BIN)/pytest -m nightly $(PYTEST_ARGS)
	AUDIT_NIGHTLY=1 $(BIN)/pytest quant_assets_tests/audit/test_innocents.py $(PYTEST_ARGS)
	folder="$$(mktemp -d)" && $(BIN)/python -m quant_assets_tests.automation.quarter "$$folder" && rm -r "$$folder"

# Apart from `make test`, which has a smaller one: some thirty processes are started, in minutes.
.PHONY: devices
devices: $(EVERYTHING) ## Test that no device is shared or lost: eight simulated ones, with daemon, code server and runs killed
	$(BIN)/python -m quant_assets_tests.running.device_proof

# Apart from `make test`: on Python 3.11 tracing takes two fifths more processor time.
.PHONY: coverage
coverage: $(EVERYTHING) ## All tests with coverage: lists the lines that no test reaches, and fails below a minimum
	$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder --cov $(PYTEST_ARGS)

.PHONY: bench
bench: $(EVERYTHING) ## Compare with other packages (TOPIC='alpha158'); some comparisons need make peers first
	$(BIN)/python -m benchmarks $(TOPIC)

.PHONY: scale
scale: $(EVERYTHING) ## The whole history at 1, 2 and 4 times the tickers of QUANT_DATA_DIR: seconds and memory
	$(BIN)/python -m benchmarks.scale --data $(QUANT_DATA_DIR)

.PHONY: study
study: $(EVERYTHING) ## Compare GARCH with the package arch on thousands of windows of the prices in QUANT_DATA_DIR
	$(BIN)/python -m benchmarks.garch_study $(QUANT_DATA_DIR)

.PHONY: walk
walk: $(EVERYTHING) ## Rank IC of 16 years of walk-forward over QUANT_DATA_DIR, with controls, kept in INTO (hours)
	$(BIN)/python -m benchmarks.walk_forward --data $(QUANT_DATA_DIR) --into $(INTO)

.PHONY: optimisers
optimisers: $(EVERYTHING) ## Every optimiser over 16 years of the prices in QUANT_DATA_DIR, with costs, long-only and neutral
	$(BIN)/python -m benchmarks.optimisers $(QUANT_DATA_DIR)

# Peers whose dependencies do not fit ours. --no-deps: the file lists what they need to compute, which is a small part of what they ask for.
.PHONY: peers
peers: $(EVERYTHING) ## Install the benchmarks' peers into .venv-peers (Qlib, vectorbt; Python 3.11 or 3.12)
	$(BIN)/python -m venv --clear .venv-peers
	.venv-peers/bin/python -m pip install -qq --disable-pip-version-check --no-deps -r benchmarks/peers.txt

.PHONY: lint
lint: $(EVERYTHING) ## ruff, mypy and the import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(EVERYTHING) ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: docs
docs: $(EVERYTHING) ## Write the reference of commands, settings and datasets from the code into docs/reference
	$(BIN)/python -m quant_assets.documentation.reference docs/reference

# Not --quiet: warnings that are not shown are not counted by --strict. Material's advertisement about MkDocs 2 is left out.
.PHONY: docs-site
docs-site: $(EVERYTHING) ## Render docs/ into build/site and fail at a broken link or an unlisted page (mkdocs serve shows it)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Refuses a dirty tree, an existing tag and a version without a dated section in CHANGELOG.md. CI has run the tests of the commit.
.PHONY: release
release: lint ## Build wheel and sdist into dist/ and try the wheel; TAG=1 also sets the tag (else a dry run)
	PYTHON=$(BIN)/python bash .ci/release $(if $(TAG),--tag)

# Keeps every pin that still fits; UPGRADE=1 takes the newest versions. Only the public index is asked, so that the lock is the same
# wherever it is made.
.PHONY: lock
lock: $(EVERYTHING) ## Write requirements.lock from pyproject.toml (UPGRADE=1 for new versions)
	env -u UV_FIND_LINKS -u UV_INDEX -u UV_EXTRA_INDEX_URL $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras \
		--no-annotate --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade) pyproject.toml -o requirements.lock

.PHONY: clean
clean: ## Remove .venv, .venv-peers and caches; storage/ is kept
	rm -rf $(VENV) .venv-peers build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.*
	find . -path ./storage -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# The progress of pip: on a terminal one line that counts the packages, elsewhere a line for every 25.
define PROGRESS
packages=0; wheel='([^ /]+)\.(whl|tar\.gz)( \([0-9.]+ [kMG]B\))?( |$$)'; \
while IFS= read -r line; do \
	if [[ $$line =~ $$wheel ]]; then \
		packages=$$((packages + 1)); progress="$$packages packages, now $${BASH_REMATCH[1]%%-[0-9]*}$${BASH_REMATCH[3]}"; \
		if [ -t 1 ]; then printf '\r\033[K  %s' "$$progress"; elif ((packages % 25 == 0)); then echo "  $$progress"; fi; \
	elif [[ $$line == 'Installing collected packages'* ]]; then \
		if [ -t 1 ]; then printf '\r\033[K'; fi; \
		echo "  $$packages packages downloaded; installing them …"; \
	fi; \
done
endef

# Install the project with the dependencies of $(1) and write the stamps $(2). An installation that was interrupted leaves its marker: the
# next one then starts afresh, because pip takes a half-written package for an installed one. Compiled here, because where
# PYTHONDONTWRITEBYTECODE is set, as in many containers, each of the many processes would compile the package anew.
define INSTALL
@set -eo pipefail; \
python=''; \
for candidate in $(CANDIDATES); do \
	if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then python=$$candidate; break; fi; \
done; \
if [ -z "$$python" ]; then \
	echo "error: needs Python 3.11, 3.12 or 3.13, found $$({ $(firstword $(CANDIDATES)) --version || echo none; } 2>/dev/null); run make PYTHON=/path/to/python3.12" >&2; \
	exit 1; \
fi; \
if [ -e $(VENV)/.installing ]; then echo 'An earlier installation was interrupted: starting afresh.'; rm -rf $(VENV); fi; \
if [ ! -x $(BIN)/python ]; then "$$python" -m venv $(VENV); fi; \
rm -f $(2); \
touch $(VENV)/.installing; \
echo "Installing $(3) into $(VENV) with $$($(BIN)/python --version): $(4) the first time"; \
$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c requirements.lock -e '$(1)' | { $(PROGRESS); }; \
$(BIN)/python -m compileall -q quant_assets quant_assets_tests; \
rm $(VENV)/.installing; \
touch $(2)
endef

$(CORE): requirements.lock pyproject.toml
	$(call INSTALL,.,$(CORE),what the demo runs,a minute or two)

$(EVERYTHING): $(CORE)
	$(call INSTALL,.[dev],$(CORE) $(EVERYTHING),all groups and the tools of the tests,a few minutes)
