# Two commands are enough on a fresh machine: `make run` and `make test`. `make` lists the rest.

VENV := .venv/bin
BENCHMARKS := startup twins redundant validation rings messages blobs program runs durable size history shadowing scan
PYTEST ?= $(VENV)/python -P -m pytest
export PATH := $(CURDIR)/$(VENV):$(PATH)
export TANDEM_NATIVE_TOOLS := $(CURDIR)/build/tools

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 24

run: build ## build both layers and document this repository; pages in build/docs/
	tandem run document_generation \
		--input path='"$(CURDIR)"' --input output='"$(CURDIR)/build/docs"'
	@printf '\nPages: %s/build/docs/index.md\n' "$(CURDIR)"

build: ## make .venv, build both layers, install them there
	@tools/setup run
	@tools/install

dev: ## as build, with what tests and checks need
	@tools/setup dev
	@tools/install

test: dev ## test both layers: C plain and under sanitizers, then Python
	@tools/test-native plain sanitized
	$(PYTEST) -m 'not long'

test-long: dev ## as test, with the long tests, the thread sanitizer, valgrind, fuzzing and all mutants
	@tools/test-native plain sanitized threads
	@tools/test-native-long
	python3 tools/weaken.py
	$(PYTEST)
	TANDEM_BRIDGE_UNDER_TEST=$(CURDIR)/build/native-sanitized/native/agent_bridge \
		$(PYTEST) tests/faults -m 'not long' -k 'hostile and not tree'

kill-points: dev ## kill program, bridge, host and workers N times (10000), over as many sittings as it takes
	@mkdir -p build
	$(VENV)/python -P tests/faults/kill_points/harness.py --points $(or $(N),10000) \
		--state build/kill-points.json

kill-points-postgres: dev ## the same around a journal in PostgreSQL, and of its server, N times (1000)
	@mkdir -p build
	$(VENV)/python -P tests/faults/kill_points/harness.py --points $(or $(N),1000) --postgres \
		--state build/kill-points-postgres.json

simulate: dev ## play seeds of simulated orchestrators up to SEEDS (100000), from FROM or where it was
	@mkdir -p build
	$(VENV)/python -P tests/faults/simulation/simulate.py --seeds $(or $(SEEDS),100000) \
		--state build/simulate.json $(if $(FROM),--from $(FROM))

day: dev ## live 24 h of schedules at a hundred times their speed: 14.4 minutes of real programs
	$(VENV)/python -P tests/faults/simulation/day.py

power-loss: dev ## cut the power of a recorded journal 110,000 times and look at what is left
	$(PYTEST) tests/faults/test_journal_power.py tests/faults/test_output_power.py

flipped-bits: dev ## flip one bit of a journal 20,300 times and see who notices
	$(PYTEST) tests/faults/test_journal_flips.py

journal-errors: dev ## let each call of the journal to its disk fail in turn, and fill disks up
	$(PYTEST) tests/faults/test_journal_each_error.py tests/faults/test_journal_disk.py \
		tests/faults/test_journal_refused_disk.py

failing-calls: dev ## let each call of bridge, agents, hosts, journal and extension to the system fail in turn
	@tools/test-native plain
	$(PYTEST) tests/faults/test_failing_calls.py

model: dev ## hold the engine against the reference scheduler through N random histories (3000)
	TANDEM_MODEL_EXAMPLES=$(or $(N),3000) $(PYTEST) tests/model/test_scheduler_model.py \
		tests/model/test_scheduler_mutants.py

weaken: dev ## weaken each memory order, remove each check, show which proof notices; needs spin
	python3 tools/weaken.py

models: ## search the spin models of native/models through; needs spin and a C compiler
	python3 tools/check_models.py

test-lowest: dev ## run the Python tests with the oldest dependencies that are allowed
	@tools/test-lowest

check: ## format, lint, types, import map
	@tools/setup dev
	@tools/check

fmt: ## format Python and C in place
	@tools/setup dev
	ruff format .
	ruff check --fix --exit-zero --quiet .
	git ls-files -z '*.c' '*.h' | xargs -0 --no-run-if-empty clang-format -i

bench: build ## hold every figure against its bar and its peers; tables, and JSON in build/bench/
	@tools/setup bench
	@missed=''; for what in $(BENCHMARKS); do \
		$(VENV)/python benchmarks/$$what.py --output build/bench/$$what.json || missed="$$missed $$what"; \
	done; [ -z "$$missed" ] || { echo "bench: missed or failed:$$missed" >&2; exit 1; }

bench-history: build ## runs list and runs show beside a million finished steps; 2 GB of scratch space
	@tools/setup bench
	$(VENV)/python benchmarks/history.py --runs 100000 --output build/bench/history.json

bench-fairness: dev ## measure seven good C agents beside a hostile peer against eight good ones
	@tools/test-native plain
	$(VENV)/python benchmarks/fairness.py --output build/bench/fairness.json

clean: ## remove .venv and everything built
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help run build dev test test-long kill-points kill-points-postgres simulate day power-loss flipped-bits journal-errors failing-calls model models weaken test-lowest check fmt bench bench-history bench-fairness clean
.DEFAULT_GOAL := help
