# Porchlight. `make help` lists the targets; each one calls `install` when it is needed.
.DEFAULT_GOAL := help
.PHONY: help install lock fmt lint types imports check test test-unit test-model test-simulation test-integration test-e2e test-chaos test-long test-compose test-compiled bench bench-takeover bench-core bench-core-compiled simulate-cases simulate-services replay run up up-cluster upgrade down ps logs backup restore try-compose docs deploy-tools clean
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := libs/common services/intake services/router services/agent-presence services/reporting tools/simulator tools/checker tools/docgen tools/cli
INSTALLED := .venv/.installed
DEMO ?= 1

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): requirements/dev.lock.txt $(addsuffix /pyproject.toml,$(PACKAGES))
	$(PYTHON) -c 'import sys; sys.exit("Porchlight needs Python 3.11 or newer; set PYTHON=…") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.lock.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation $(addprefix -e ,$(PACKAGES))
	@touch $@

install: $(INSTALLED) ## make .venv with everything in it, the porchlight command too

run: $(INSTALLED) ## the whole platform on this machine, playing a demo day in a loop (DEMO=0: without it)
	@$(BIN)/porchlight run $(if $(filter 0,$(DEMO)),--no-demo,)

COMPOSE := docker compose -f deploy/compose.yaml

up: ## the platform in containers: makes what is missing, builds, starts, waits until all is healthy
	@sh deploy/up.sh

up-cluster: ## the same with three brokers and two of every service
	@sh deploy/up.sh compose.yaml compose.cluster.yaml

upgrade: ## every service to this release while contacts flow, one after the other (BACK=1: images as they are, no migrations)
	@sh deploy/upgrade.sh $(if $(BACK),--back) $(FILES)

down: ## stop the containers; what they know stays in their volumes
	@$(COMPOSE) -f deploy/compose.cluster.yaml --profile '*' down

ps: ## what runs in containers, and how it is
	@$(COMPOSE) ps -a

logs: ## what a service says: make logs S=router
	@$(COMPOSE) logs -f --tail 100 $(S)

backup: ## everything that cannot be made again, in one file (FILE=…)
	@sh deploy/backup.sh $(if $(FILE),$(abspath $(FILE)))

restore: ## from a backup to a platform that runs, on an empty machine: make restore FILE=…
	@sh deploy/restore.sh $(abspath $(FILE))

try-compose: ## one contact through the gateway, answered by an agent, each step with its time
	@$(COMPOSE) run --rm -T tools try

fmt: $(INSTALLED) ## format the code and sort the imports
	@$(BIN)/ruff format -q . && $(BIN)/ruff check -q --fix .

lint: $(INSTALLED) ## format and lint checks, changing nothing
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .

types: $(INSTALLED) ## strict types
	@$(BIN)/mypy && $(BIN)/mypy tests/simulation/*.py tests/support/servers.py tests/support/containers.py

imports: $(INSTALLED) ## the direction of dependencies
	@$(BIN)/lint-imports

check: lint types imports ## everything that needs no server

test: check ## what CI runs: the checks and the tests, on real servers
	@$(BIN)/pytest -q -n auto --dist worksteal tests/unit tests/model tests/simulation
	@$(BIN)/pytest -q -m "not long" tests/integration tests/e2e tests/chaos

test-long: $(INSTALLED) deploy-tools ## those that take a minute each: starts in odd surroundings, a replay, clocks and stopped leaders (6 minutes)
	@$(BIN)/pytest -q -m long

test-unit: $(INSTALLED) ## seconds; no socket
	@$(BIN)/pytest -q tests/unit

test-model: $(INSTALLED) ## properties and state machines
	@$(BIN)/pytest -q tests/model

test-simulation: $(INSTALLED) ## all four services in virtual time under faults: fixed seeds, and fresh ones for a minute
	@$(BIN)/pytest -q tests/simulation

simulate-services: $(INSTALLED) ## the same with fresh seeds for MINUTES=30: seeds tried, steps, faults by kind, findings
	@$(BIN)/python -m tests.simulation.run --seconds $$(( $(or $(MINUTES),30) * 60 ))

replay: $(INSTALLED) ## the history of one seed of the simulation, line by line: make replay SEED=7 (ABOUT=text for some lines)
	@$(BIN)/python -m tests.simulation.run --seed $(SEED) --about "$(ABOUT)"

test-integration: $(INSTALLED) ## adapters on real PostgreSQL and Kafka (PORCHLIGHT_TEST_BACKEND=env|docker|embedded|auto)
	@$(BIN)/pytest -q tests/integration

test-e2e: $(INSTALLED) ## every process, in domain words
	@$(BIN)/pytest -q tests/e2e

test-chaos: $(INSTALLED) ## kill and pause under load, then the history checker
	@$(BIN)/pytest -q tests/chaos

test-compose: $(INSTALLED) ## the platform in containers: start, faults, restarts, backup, figures (a Docker engine, 20 minutes)
	@$(BIN)/pytest -q tests/compose

bench: $(INSTALLED) ## latency, throughput and takeover, as ratios measured in one run
	@$(BIN)/porchlight bench all

bench-takeover: $(INSTALLED) ## a shard with 20,000 waiting contacts of different needs is taken over: seconds, and the longest stop of the loop
	@PORCHLIGHT_TAKEOVER_WAITING=20000 $(BIN)/pytest -q -s tests/integration/router/test_takeover.py

bench-core: $(INSTALLED) ## the routing core alone: decisions a second beside a floor, growth, rebuild, memory, simulator
	@$(BIN)/porchlight bench-core

COMPILED := build/compiled/.compiled
DIGEST := from tests.model.test_any_policy import digest; print(digest(500))

$(COMPILED): $(INSTALLED) services/router/compile-core.sh $(wildcard services/router/src/router/core/*.py services/router/src/router/core/*/*.py)
	rm -rf build/compiled && mkdir -p build/compiled && cp -r services/router/src/router build/compiled/
	PATH="$(CURDIR)/$(BIN):$$PATH" sh services/router/compile-core.sh build/compiled
	@touch $@

test-compiled: $(COMPILED) ## the core as machine code, as images carry it: its unit and model tests, and the same bytes (a C compiler, 3 minutes)
	@PYTHONPATH=build/compiled $(BIN)/pytest -q tests/unit/router tests/unit/porchlight_simulator tests/unit/porchlight/simulate tests/model \
	  --deselect tests/unit/router/sharding/test_containment.py::test_a_timer_that_makes_every_step_fail_rings_no_more # it plants its fault by replacing a function of the core
	@$(BIN)/python -c '$(DIGEST)' >build/as-python && PYTHONPATH=build/compiled $(BIN)/python -c '$(DIGEST)' >build/as-machine-code
	cmp build/as-python build/as-machine-code

bench-core-compiled: $(COMPILED) ## the same figures of the core as machine code
	@PYTHONPATH=build/compiled $(BIN)/porchlight bench-core

simulate-cases: $(INSTALLED) ## queueing cases with known answers, reproduced (CASES=FILE for yours)
	@$(BIN)/porchlight simulate --cases $(or $(CASES),docs/examples/cases.json)

docs: $(INSTALLED) ## write the generated pages again
	@$(BIN)/porchlight docs

lock: ## resolve the locks again (needs uv on PATH)
	@sh requirements/lock.sh

deploy-tools: ## promtool and Docker Compose for the tests of deploy/, from Debian's packages, into build/tools
	@sh requirements/deploy-tools.sh

clean: ## remove .venv and what the platform keeps under .porchlight
	rm -rf .venv .porchlight
