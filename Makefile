# The commands of this project. `make` alone prints them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.NOTPARALLEL:

BIN := .venv/bin
READY := .venv/.lapse-ready
ARGS ?=

.PHONY: help setup demo test check lanes soak bench bench-big bench-strain fmt lock clean

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile
	echo
	echo '  LAPSE_BOOTSTRAP=host:port uses that Kafka instead of the embedded one (no Java needed).'

setup: $(READY) ## once: .venv from the hashed lock, Kafka's jars by Maven (the other targets run it when needed)

# The lock decides when the environment is stale, and what is compiled; Python's sources are installed in place.
$(READY): requirements/dev.txt vault/_columns.c
	@.ci/setup
	touch $@

demo: $(READY) ## watch events come in, get handed out and become unreadable (a minute and a half); ARGS="--plain --keep ..."
	@$(BIN)/lapse demo $(ARGS)

# Tests on brokers wait more than they work, so three pytests run side by side, and as each is done the next: those whose
# systems have a clock of their own, then the ordeal. With ARGS: one.
ORDEAL := tests/e2e/test_chaos.py
APART := $(patsubst %,tests/e2e/live/test_%.py,lapse on_postgres points recipients restore)
test: $(READY) ## everything, on a real Kafka; ARGS goes to pytest
	@if [ -n '$(ARGS)' ]; then exec $(BIN)/python -m pytest -m "not soak and not lane" $(ARGS); fi
	dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT
	part() { $(BIN)/python -m pytest -q -m "not soak and not lane" -p no:cacheprovider "$$@" 2>&1 || touch "$$dir/failed"; }
	part $(APART:%=--ignore=%) tests/e2e/live >"$$dir/live" &
	part tests/unit >"$$dir/unit" &
	part --ignore=tests/e2e/live --ignore=$(ORDEAL) tests/e2e > >(tee "$$dir/rest") &
	wait -n
	part $(APART) >"$$dir/apart" &
	wait -n
	part $(ORDEAL) >"$$dir/ordeal" &
	wait
	echo; echo "what needs no broker:"; cat "$$dir/unit"
	echo; echo "the live system:"; cat "$$dir/live" "$$dir/apart" "$$dir/ordeal"
	$(BIN)/python .ci/closing-line "$$dir/rest" "$$dir/unit" "$$dir/live" "$$dir/apart" "$$dir/ordeal"
	[ ! -e "$$dir/failed" ]

# Formatters, the type checker and the tests share no state, so they run side by side; each prints when it is done.
check: $(READY) ## what needs no broker: format, lint, types, import contract, unit tests (about a minute)
	@rc=0; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT
	run() { name=$$1; shift; if "$$@" >"$$dir/$$name" 2>&1; then echo "ok      $$name"; else echo "FAILED  $$name"; cat "$$dir/$$name"; return 1; fi; }
	static() { bad=0; run format $(BIN)/ruff format --check . || bad=1; run lint $(BIN)/ruff check --output-format concise . || bad=1; run imports $(BIN)/lint-imports || bad=1; run types $(BIN)/mypy || bad=1; return $$bad; }
	static & job=$$!
	run unit $(BIN)/python -m pytest -q -m "not soak and not servers" tests/unit $(ARGS) || rc=1
	tail -n 1 "$$dir/unit"
	wait $$job || rc=1
	exit $$rc

lanes: $(READY) ## TLS, another Kafka, an older one, and containers (root, Debian's docker.io); skipped with a reason
	@$(BIN)/python -m pytest -m lane $(ARGS)

soak: $(READY) ## long runs with crashes and restarts; ARGS="--minutes 20 --seeds 1,2,3"
	@$(BIN)/python -m pytest -m soak --timeout=3600 $(ARGS)

bench: $(READY) ## every benchmark, one table of goals and figures (minutes); ARGS="--only hot,keys -o FILE"
	@$(BIN)/python -m benchmarks.all $(ARGS)

bench-big: $(READY) ## the large benchmark
	@$(BIN)/python -m benchmarks.big $(ARGS)

bench-strain: $(READY) ## Kafka killed under load, then the memory of half a million events (half an hour); ARGS is for the second
	@$(BIN)/python -m benchmarks.outage
	$(BIN)/python -m benchmarks.memory $(ARGS)

fmt: $(READY) ## format and fix what can be fixed
	@$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Hashes, but no index or download address: the lock works with any mirror that holds the same bytes.
lock: ## resolve the locks anew from pyproject.toml
	@export CUSTOM_COMPILE_COMMAND='make lock'
	compile="$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options"
	$$compile --extra dev -o requirements/dev.txt pyproject.toml
	$$compile -c requirements/dev.txt -o requirements/runtime.txt pyproject.toml
	$$compile -c requirements/dev.txt -o requirements/build.txt requirements/build.in
	! grep -nE '://|find-links|index-url' requirements/*.txt || { echo 'the lock names an address'; exit 1; }

clean: ## remove the environment and every build product (not the cached Kafka jars, not data)
	@rm -rf .venv build dist ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
