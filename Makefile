# Everything a newcomer needs: `make demo`, `make test`.  PYTHON may name another interpreter (3.11 or later).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# a test file a process; they compute with one thread each
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo test lint types fast docs model clean

demo: $(VENV)/.installed
	$(BIN)/sfhflow demo --out sfhflow-demo

test: $(VENV)/.installed
	$(PYTEST)

# without the tests marked slow
fast: $(VENV)/.installed
	$(PYTEST) -m "not slow"

lint: $(VENV)/.installed
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks

types: $(VENV)/.installed
	$(BIN)/mypy

# the documentation, its tutorials executed, in docs/_build
docs: $(VENV)/.installed
	$(BIN)/python -m sphinx -W -q docs docs/_build

# train the shipped model again (an hour on two cores; interrupt and repeat to resume)
model: $(VENV)/.installed
	$(BIN)/sfhflow train configs/default.toml --out runs/default

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch numpy
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable ".[arviz,dask,demo,exact,hdf5,web]" furo hypothesis mypy myst-nb pre-commit pytest pytest-xdist ruff selenium sphinx
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache sfhflow-demo
