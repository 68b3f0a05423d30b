# orbitloop: everything a person or a machine does here goes through these targets. `make` alone lists them.

PYTHON ?= python3
VENV   := .venv
SHELL  := bash
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
BENCH  ?= $(patsubst bench/bench_%.py,%,$(wildcard bench/bench_*.py))

# Small networks on few cores: threads that spin while they wait take the time from those that work.
export OMP_NUM_THREADS ?= 2
export OMP_WAIT_POLICY ?= PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.PHONY: help env demo test test-slow torture conformance engines lint format types layers check bench docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

env: $(STAMP) ## create .venv with the pinned versions (nothing to do when nothing changed)

# PIP_CONSTRAINT rather than -c: it also holds inside the isolated build of the package itself.
$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "orbitloop needs Python 3.11 or later; try: make env PYTHON=python3.12" >&2; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || \
		{ echo "no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	PIP_CONSTRAINT=requirements.lock $(PY) -m pip install --quiet -e '.[dev]'
	@touch $(STAMP)

demo: env ## run the demo mission: minutes, no data set, no GPU needed
	$(VENV)/bin/orbitloop run missions/farmland-demo.yaml

test: env ## run the default tests, some 10 minutes on 2 cores
	$(PY) -m pytest -m "not slow"

engines: env ## install the optional engines (OpenVINO, ncnn; 210 MB) and hold each to the engines' contract
	PIP_CONSTRAINT=requirements.lock $(PY) -m pip install --quiet -e '.[openvino,ncnn]'
	$(PY) -m pytest tests/onboard/test_onboard_engines.py tests/onboard/test_onboard_graphs.py

torture: env ## power cuts, kills, failing disks, flipped bits, bad models, malicious bundles (SECTION=cuts runs some)
	OMP_NUM_THREADS=1 PYTHONPATH=tests/torture:tests/onboard:tests/trust $(PY) tests/torture/run_torture.py --section "$(SECTION)"

# The suite is not on the package index.
conformance: env ## the TUF project's conformance suite against the on-board client (TUF_CONFORMANCE=DIR, a checkout of it)
	@test -n "$(TUF_CONFORMANCE)" -a -d "$(TUF_CONFORMANCE)/tuf_conformance" || { echo "get the suite first, and name its folder: \
	git clone https://github.com/theupdateframework/tuf-conformance DIR; make conformance TUF_CONFORMANCE=DIR" >&2; exit 2; }
	$(PY) tests/trust/run_conformance.py "$(TUF_CONFORMANCE)"

test-slow: env ## run the tests that take minutes each
	$(PY) -m pytest -m slow

lint: env ## ruff: rules and format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: env ## ruff: apply the format and the safe fixes
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

types: env ## mypy, strict
	$(VENV)/bin/mypy

layers: env ## import-linter: who may import whom
	$(VENV)/bin/lint-imports

check: lint types layers test ## all that a commit must pass

bench: env ## run the benchmarks and rewrite docs/benchmarks.md (BENCH=link runs one)
	@set -e; for name in $(BENCH); do echo "== $$name"; $(VENV)/bin/orbitloop bench $$name; done

# A page is replaced only when its generator ended well.
docs: env ## write the generated pages again
	@set -e; write() { "$${@:2}" > "$$1.new" && mv "$$1.new" "$$1" && echo "$$1"; }; \
	write docs/reference/mission-file.md $(PY) -m orbitloop.resources.schema; \
	write docs/reference/cli.md $(PY) -m orbitloop.cli.reference commands; \
	write docs/reference/exit-codes.md $(PY) -m orbitloop.cli.reference exit-codes; \
	write docs/benchmarks.md $(PY) -c 'import sys; from pathlib import Path; \
		from orbitloop.reports.figures import render_benchmarks; sys.stdout.write(render_benchmarks(Path("bench/results")))'

clean: ## remove caches and build outputs; .venv and runs/ stay
	rm -rf build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
