# Nothing but python3 (3.11 or newer, with venv), make and a package registry is assumed. `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
LOCK := requirements/dev.txt
BIN := $(VENV)/bin
JOBS ?= 3
ARGS ?=
SEEDS ?= 0:10000
KILLS ?= 0:300

.DEFAULT_GOAL := help
.PHONY: help env demo test check suite smoke format parity bench soak simulate crash endure mutants lock

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

env: ## create the environment, or bring it up to date when the lock, pyproject.toml or the interpreter changed
	@$(PYTHON) requirements/environment.py $(VENV) $(LOCK)

demo: env ## the main job end to end against simulated venues (ARGS="--json --seed 7 ...")
	@$(BIN)/perpkit demo $(ARGS)

test: check suite ## what CI runs: check, then the suite

check: env ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

suite: env ## the tests without the gates (ARGS="tests/unit -k book")
	$(BIN)/python -m pytest -n $(JOBS) -m "not soak" $(ARGS)

smoke: env ## a quick look whether an interpreter works: import everything, start the command, ask every venue
	$(BIN)/python -m pytest -q -n $(JOBS) -m "not soak" tests/smoke exchange_simulator/conformance/test_requests.py $(ARGS)

format: env ## let ruff format and sort
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

parity: env ## compare with ccxt and the official SDKs, each in an environment of its own
	$(BIN)/python tests/parity/run.py $(ARGS)

bench: env ## measure against ccxt and the official SDKs, each in its own environment (ARGS="--only frames --rounds 3", see benchmarks/README.md)
	$(BIN)/python benchmarks/run.py $(ARGS)

soak: env ## long runs: random kills, storms of faults
	$(BIN)/python -m pytest -m soak -p no:randomly --timeout 0 $(ARGS)

simulate: env ## storms over the whole stack, one per seed (SEEDS=0:10000 JOBS=2)
	$(BIN)/python -m tests.strategies.simulation --seeds $(SEEDS) --jobs $(JOBS)

crash: env ## kill bots at random points over real sockets, start them again (KILLS=0:300 JOBS=2)
	@$(BIN)/python -m tests.strategies.crash --kills $(KILLS) --jobs $(JOBS)

endure: env ## days of simulated time with faults, explained to the cent (ARGS="--minutes 30")
	@$(BIN)/python -m tests.strategies.endurance $(ARGS)

mutants: env ## break the engine and the clients on purpose, see the tests notice (ARGS="E13 E17")
	@$(BIN)/python -m tests.strategies.mutants $(ARGS)

lock: ## write the lock anew from pyproject.toml, from the public registry alone
	@$(PYTHON) requirements/lock.py $(LOCK)
