# On a fresh machine with Python 3.11+ and make, two commands do it all: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
BENCH  := .venv-bench
AIRFLOW ?= 3.1
SEEDS  ?= 2000
OLDER  := .venv-airflow-$(AIRFLOW)
# Each worker starts with its half of the modules, so that most fixtures of a module or session are set up once.
XDIST  := -n 2 --dist worksteal

# Tests start hundreds of processes, which otherwise compile the sources again each time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test test-live test-airflow conservation lint format bench bench-backfill bench-dags bench-io bench-server bench-waiting bench-webhooks clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(VENV)/.installed  ## set up .venv with Airflow, Dagster and the tools

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install  ## write, audit, publish: through Airflow and through Dagster, on an embedded lakeFS
	@$(BIN)/python -m example_dags.demo

test: install  ## all tests
	$(BIN)/python -m pytest $(XDIST)

test-live: install  ## a real Airflow and a real Dagster, each with all its processes: some minutes
	$(BIN)/python -m pytest -m live tests/live

test-airflow: $(OLDER)/.installed  ## the tests of the Airflow provider on another Airflow: AIRFLOW=3.1 or 3.2
	$(OLDER)/bin/python -m pytest $(XDIST) tests/examples/test_airflow_example.py tests/airflow

conservation: install  ## random programs, faults and kills, for hours: SEEDS=2000 for each test
	LAKEFS_OPS_SEEDS=$(SEEDS) LAKEFS_OPS_ROUNDS=500 LAKEFS_OPS_PARTITIONS=200 LAKEFS_OPS_FUZZ=10000 \
	  $(BIN)/python -m pytest $(XDIST) $(wildcard tests/*/test_conservation.py) tests/flows/test_backfill_kills.py \
	  tests/faults/test_schedules.py tests/local/test_durability.py tests/local/test_gateway_fuzz.py

$(OLDER)/.installed: pyproject.toml constraints.txt tests/airflow/constraints-$(AIRFLOW).txt
	$(PYTHON) -m venv $(OLDER)
	awk -F== '!seen[$$1]++' tests/airflow/constraints-$(AIRFLOW).txt constraints.txt > $(OLDER)/constraints.txt
	$(OLDER)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(OLDER)/constraints.txt uv
	$(OLDER)/bin/uv pip install --quiet --python $(OLDER)/bin/python --compile-bytecode --constraint $(OLDER)/constraints.txt --editable '.[airflow,fs,local]' pytest pytest-mock pytest-xdist
	@touch $@

lint: install  ## ruff, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases tests/*/sample_usage.py example_dags/dagster

format: install  ## format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BENCH)/.installed  ## side by side with lakefs-sdk and lakefs; writes benchmarks/RESULTS.md
	@$(BENCH)/bin/python -m compileall -q lakefs_ops  # as pip does; otherwise each run compiles changed sources
	@$(BENCH)/bin/python benchmarks/run.py

bench-server: install  ## the embedded server, with 10,000 to 1,000,000 objects; writes benchmarks/SERVER.md
	@$(BIN)/python benchmarks/embedded.py --objects 10000 --objects 100000 --objects 1000000

bench-io: install  ## the IO manager next to dagster-polars and dagster-aws; writes benchmarks/IO_MANAGER.md
	$(PYTHON) -m venv .venv-bench-io
	$(BIN)/uv pip install --quiet --python .venv-bench-io/bin/python --editable '.[bench-io]'
	@.venv-bench-io/bin/python benchmarks/io_manager.py

bench-waiting: install  ## the cost of ten thousand waiting conditions; writes benchmarks/WAITING.md
	@$(BIN)/python benchmarks/waiting.py

bench-webhooks: install  ## seconds from a commit to its event, pushed and polled; writes benchmarks/WEBHOOKS.md
	@$(BIN)/python -m benchmarks.webhooks

bench-backfill: install  ## a backfill with eight workers and with one; writes benchmarks/BACKFILL.md
	@$(BIN)/python benchmarks/backfill.py

bench-dags: install  ## the import of every operator and sensor, compared with stock ones
	@$(BIN)/python benchmarks/dag_file.py

$(BENCH)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	@touch $@

clean:  ## remove everything the other targets created
	rm -rf $(VENV) $(BENCH) .venv-bench-io .venv-airflow-* .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
