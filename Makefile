# The one door: demo, test, check, bench. A machine needs Python 3.11 or newer and make, no more.
#
#   make demo                      the whole way on handwritten digits, into runs/demo/
#   make demo DATA=NAME            the same on another data set the package knows
#   make test TEST_ARGS='-k bits'  pytest, with arguments, in TEST_JOBS processes (2)
#   make bench BENCH_RUN=2         layers, networks and threads once more, and docs/performance.md of all runs
#   make claims                    the demo's claims over three seeds
#   make docs                      the documentation as web pages, into site/
#   make fuzz FUZZ_SECONDS=60      break files, draw steps for longer; the seed is the date
#   make PIP_ARGS='...' .venv/.installed   arguments for pip, such as another index (see README)

PYTHON ?= python3
PIP_ARGS ?=
DATA ?= digits
OUT ?= runs/demo
DEMO_ARGS ?=
TEST_ARGS ?=
FUZZ_SECONDS ?= 60
FUZZ_SEED ?= $(shell date +%Y%m%d)
TEST_JOBS ?= 2
BENCH_RUN ?= 1
CLAIMS_ARGS ?= --json runs/bench/demo_claims.json

BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test docs fuzz check format bench claims clean distclean

help:
	@sed -n 's/^#   //p' Makefile

install: $(STAMP)

# pip first: the pip of an old venv module knows neither --group nor PEP 639 licences.
# The last line links an empty program for each architecture, so that the linker's one-time
# preparation (a minute each) is paid here and not in the middle of the first demo.
$(STAMP): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "binas needs Python 3.11 or newer; name one with make PYTHON=python3.11" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(PIP_ARGS) --editable '.[all]' --group dev
	$(BIN)/python -m binas.compile.link
	@touch $@

demo: $(STAMP)
	$(BIN)/python -m examples.demo --data $(DATA) -o $(OUT) $(DEMO_ARGS)

# Files are handed out whole, and classes of a file one by one; tests/conftest.py puts long ones first.
test: $(STAMP)
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadscope --no-loadscope-reorder $(TEST_ARGS)

fuzz: $(STAMP)
	$(BIN)/python -m pytest tests/fuzz --timeout 0 --fuzz-seconds $(FUZZ_SECONDS) --fuzz-seed $(FUZZ_SEED)

docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(PIP_ARGS) --group docs
	$(BIN)/mkdocs build --quiet

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests examples benchmarks
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Targets are judged on the median of five runs, and files of other runs stay: BENCH_RUN=1 to 5.
# Estimates for ARM and the footprint are not made here, but judged where their files lie.
bench: $(STAMP)
	mkdir -p runs/bench
	$(BIN)/python -m benchmarks.layers --json runs/bench/layers-$(BENCH_RUN).json
	$(BIN)/python -m benchmarks.networks --json runs/bench/networks-$(BENCH_RUN).json
	$(BIN)/python -m benchmarks.threads --json runs/bench/threads-$(BENCH_RUN).json
	$(BIN)/python -m benchmarks.performance runs/bench/layers-*.json runs/bench/networks-*.json \
	  runs/bench/threads-*.json $(wildcard runs/bench/arm*.json runs/bench/footprint*.json) \
	  -o docs/performance.md

claims: $(STAMP)
	$(BIN)/python -m benchmarks.demo_claims $(CLAIMS_ARGS)

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# Results and the installation, too.
distclean: clean
	rm -rf .venv *.egg-info runs
