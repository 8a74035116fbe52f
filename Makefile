# The second command of a newcomer: `make test`. Each target makes the environment first; none needs root.

VENV := $(or $(RNNT_VENV),tools/venv)
PYTHON := $(VENV)/bin/python3

.PHONY: environment test test-all test-k2 lint

environment:
	tools/setup.sh

# Fast tests, at most 10 minutes on two cores.
test: environment
	$(PYTHON) -m pytest -m "not slow"

# What takes longer, and what needs other interpreters, besides.
test-all: environment
	$(PYTHON) -m pytest -m slow
	$(MAKE) test-k2

# The losses against a real k2, in an environment of its own with Python 3.9; says so where there is none.
test-k2: environment
	tools/test_k2.sh

lint: environment
	$(PYTHON) -m pytest test/tools/test_lint.py
