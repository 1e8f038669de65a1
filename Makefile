# Two commands do all the set-up: `make demo` and `make test`. `make help` shows the rest.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

# Hundreds of interpreters that tests start would each compile the whole tree anew.
unexport PYTHONDONTWRITEBYTECODE

# An active virtualenv is used as it is; otherwise one is made here with $(PYTHON).
PYTHON ?= python3
VENV := $(or $(VIRTUAL_ENV),$(CURDIR)/.venv)
BIN := $(VENV)/bin
PY := $(BIN)/python

# Named after this checkout, so that a virtualenv that several checkouts share is set up for each of them.
STAMP := $(VENV)/.installed$(subst /,-,$(CURDIR))

# With pyenv the interpreters that tox asks for are only found when PYENV_VERSION lists them.
PYENV_VERSIONS = $(shell command -v pyenv >/dev/null 2>&1 \
    && pyenv versions --bare 2>/dev/null | grep -E '^3\.1[123](\.[0-9]+)?$$' | paste -sd: -)
TOX = $(if $(PYENV_VERSIONS),PYENV_VERSION=$${PYENV_VERSION:-$(PYENV_VERSIONS)} )$(PY) -m tox

UV_PIN = $(BIN)/uv pip compile --quiet --upgrade --no-header --no-annotate --no-emit-index-url --python-version 3.11
OF_PACKAGE = setup.py --extra hiredis
# For every Python and platform; pip installs nothing else than the files that have these hashes.
UV_PIN_ALL = $(UV_PIN) --universal --generate-hashes

NEEDED = import sys; \
    sys.exit(None if sys.version_info >= (3, 11) else "%s is Python %d.%d; 3.11 or newer is needed" \
    % (sys.executable, *sys.version_info[:2]))

CONSUME = $(PY) -m devtools.consumers run -t user-login -g user-activity-service --extra

define TEST_EVENT
{"user": {"id": 7, "is_active": true, "pii": {"username": "ada", "email": "ada@example.org", "name": "Ada"}}}
endef

.PHONY: help
help: ## show this table
	@awk 'BEGIN {FS = ":.*## "} /^[a-z_-]+:.*## / {printf "  %-30s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

$(PY):
	@$(PYTHON) -c '$(NEEDED)' || { echo "choose another interpreter: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv "$(VENV)"

$(STAMP): setup.py pyproject.toml requirements/dev.txt | $(PY)
	@$(PY) -c '$(NEEDED)'
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip --upgrade >/dev/null
	@echo "installing what is pinned in requirements/dev.txt (once, and again when it changes)"
	@$(PY) -m devtools.installation requirements/dev.txt
	@$(PY) -m pip install -qq --disable-pip-version-check --no-deps --editable .
	@touch "$@"

.PHONY: requirements
requirements: $(STAMP) ## install the project and everything it is developed with

.PHONY: upgrade
upgrade: $(STAMP) ## pin the newest versions in requirements/*.txt
	$(PY) -m pip install -qq --disable-pip-version-check uv
	$(UV_PIN_ALL) $(OF_PACKAGE) -c requirements/constraints.in --extra dev -o requirements/dev.txt
	$(UV_PIN_ALL) $(OF_PACKAGE) -c requirements/constraints.in -c requirements/dev.txt -o requirements/base.txt
	$(UV_PIN_ALL) requirements/fuzz.in -o requirements/fuzz.txt
	$(UV_PIN_ALL) requirements/audit.in -o requirements/audit.txt
	$(UV_PIN_ALL) requirements/mutate.in -c requirements/dev.txt -o requirements/mutate.txt
	@# No hashes: tox makes constraints of it for the package itself, which is editable and can have none.
	$(UV_PIN) $(OF_PACKAGE) --resolution lowest-direct -o requirements/oldest.txt
	@# None either: the tests install what is in it one by one.
	$(UV_PIN) --universal requirements/deployment.in -o requirements/deployment.txt
	$(UV_PIN) --universal requirements/redis.in -o requirements/redis.txt

.PHONY: demo
demo: $(STAMP) ## watch four workers handle 2,000 events while one of them is killed
	@$(PY) -m devtools.demo

# How many tests run at once: `make test PROCESSES=2`. tests/conftest.py says what is right for a machine.
PROCESSES ?= auto
PYTEST = $(PY) -m pytest -n $(PROCESSES) --dist worksteal

.PHONY: test
test: $(STAMP) ## run the tests in parallel, against servers of their own
	$(PYTEST) -m "not slow"

.PHONY: test-slow
test-slow: $(STAMP) ## run those that take minutes, several hosts, failovers or environments of their own
	$(PYTEST) -m slow

# With SERVER=/usr/bin/redis-server, for instance.
.PHONY: test-server
test-server: $(STAMP) ## run the tests of what a server keeps, counts and refuses on the program SERVER
	EVENT_BUS_REDIS_SERVER_BINARY=$(SERVER) $(PYTEST) -m server

.PHONY: test-all
test-all: $(STAMP) ## run the tests on every supported Python, Django and redis-py (tox)
	$(TOX) run

.PHONY: test-corners
test-corners: $(STAMP) ## run the tests with the oldest and with the newest supported versions (tox)
	$(TOX) run -e oldest,newest

# make chaos SECONDS=60 SEED=1234; a number is drawn and printed without SEED.
SECONDS ?= 600

.PHONY: chaos
chaos: $(STAMP) ## run the fault suite for SECONDS (default 600) with random faults by SEED
	$(PY) -m tests.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) --report docs/fault-suite.rst

# `make fuzz SECONDS=600 TARGET="login entries"`
TARGET ?=
fuzz: SECONDS = 60

.PHONY: fuzz
fuzz: $(STAMP) .fuzz/installed ## search for bytes that do harm, for SECONDS (default 60) in all
	PYTHONPATH=.fuzz/packages $(PY) -m tests.fuzz --seconds $(SECONDS) $(TARGET)

# Beside the virtualenv: the fuzzer is for Linux and some interpreters only, and nothing else needs either.
.fuzz/installed .mutate/installed: .%/installed: requirements/%.txt | $(PY)
	@rm -rf .$*/packages
	@$(PY) -m pip install -qq --disable-pip-version-check --require-hashes --target .$*/packages -r $<
	@touch "$@"

# `make mutate MODULE="pace sizing" PROCESSES=1`
MODULE ?=

.PHONY: mutate
mutate: $(STAMP) .mutate/installed ## change the code that decides, a little each time, and show what no test notices
	$(PY) -m devtools.mutate $(if $(filter-out auto,$(PROCESSES)),--processes $(PROCESSES)) $(MODULE)

.PHONY: coverage
coverage: $(STAMP) ## run the tests and report the lines they do not reach, in child processes too
	$(PY) -m coverage erase
	$(PY) -m coverage run -m pytest -n $(PROCESSES) --dist worksteal
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report

.PHONY: quality
quality: $(STAMP) ## check format, lint, types, import rules, spelling, links of the documentation, vulnerabilities
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(SITE)
	$(PY) -m devtools.audit

# From scratch each time: a page that is not read again does not repeat its warnings.
SITE = $(BIN)/sphinx-build --builder html --fail-on-warning --fresh-env --quiet docs docs/_build/html

.PHONY: docs
docs: $(STAMP) ## build the documentation's site in docs/_build/html
	$(SITE)
	@echo "the site begins with docs/_build/html/index.html"

.PHONY: audit
audit: $(STAMP) ## look the pinned packages up among known vulnerabilities, as far as the package index tells
	$(PY) -m devtools.audit

.PHONY: format
format: $(STAMP) ## format the code and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: validate
validate: quality test ## quality and test

.PHONY: redis-up
redis-up: $(STAMP) ## start a server for local trials on REDIS_PORT (default 6379)
	@$(PY) -m devtools.server up

.PHONY: redis-down
redis-down: $(STAMP) ## stop the server that redis-up started
	@$(PY) -m devtools.server down

.PHONY: redis-status
redis-status: $(STAMP) ## say whether that server is up, and where
	@$(PY) -m devtools.server status

.PHONY: redis-shell
redis-shell: $(STAMP) ## talk to the server
	@$(PY) -m devtools.server shell

.PHONY: consume_test_event
consume_test_event: $(STAMP) ## consume the test event's topic in one process
	@$(CONSUME) '{"consumer_name": "c1"}'

.PHONY: multiple_consumer_test_event
multiple_consumer_test_event: $(STAMP) ## consume the test event's topic with a pool of two workers
	@$(CONSUME) '{"consumer_name": "c1", "workers": 2}'

.PHONY: kill_all_consume_test_events
kill_all_consume_test_events: $(STAMP) ## stop the consumers that the two targets above started
	@$(PY) -m devtools.consumers stop

.PHONY: produce_test_event
produce_test_event: $(STAMP) ## send one test event
	@$(PY) manage.py produce_event --signal openedx_events.learning.signals.SESSION_LOGIN_COMPLETED \
	    --topic user-login --key-field user.pii.username --data '$(TEST_EVENT)'

# `make perf SCENARIO="consume_one latency" ROUNDS=1` measures only those, and each side once.
SCENARIO ?=
ROUNDS ?= 3
PERF = $(PY) -m perf --rounds $(ROUNDS)

.PHONY: perf
perf: $(STAMP) ## measure against the published package and draw the plots (some 20 minutes)
	$(PERF) $(SCENARIO)
	$(PY) -m perf.plots

.PHONY: perf-peers
perf-peers: $(STAMP) ## the same, also against Celery, Dramatiq and FastStream (some 15 minutes more)
	$(PERF) --peers $(SCENARIO)
	$(PY) -m perf.plots

.PHONY: perf-profile
perf-profile: $(STAMP) ## show where the time of one worker goes
	$(PY) -m perf.profile

.PHONY: package
package: $(STAMP) ## build the wheel into dist/
	@rm -rf build
	@$(PY) -m pip wheel -qq --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/*.whl

.PHONY: clean
clean: ## remove what building and testing left behind (not .venv, not a running server)
	rm -rf build dist docs/_build .perf .fuzz .mutate mutants .audit .tox .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis htmlcov
	rm -rf ./*.egg-info .coverage .coverage.*
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
