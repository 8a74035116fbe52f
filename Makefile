# The second command of a newcomer: `make test`. Each target makes the environment that it needs first; none needs root.

VENV := $(or $(RNNT_VENV),tools/venv)
PYTHON := $(VENV)/bin/python3
# Test files are shared out among processes: one per core, at most four.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile

.PHONY: environment test test-all test-k2 lint docs

environment:
	tools/setup.sh

# Fast tests, at most 10 minutes on two cores.
test: environment
	$(PYTHON) -m pytest $(PARALLEL) -m "not slow"

# Tests that take longer, and those that need other interpreters.
test-all: environment
	$(PYTHON) -m pytest $(PARALLEL) -m slow --ignore test/clusters
	$(PYTHON) -m pytest -m slow test/clusters
	$(MAKE) test-k2

# The losses against a real k2, in an environment of its own with Python 3.9; says so where there is none.
test-k2: environment
	tools/test_k2.sh

# The pages of docs/ and the docstrings as a site in build/site; a link that leads nowhere is an error. The tool has an
# environment of its own; it reads the code and does not import it.
DOCS := build/docs-venv/bin/python3
docs:
	@$(DOCS) -c 'import mkdocs, mkdocstrings' 2>/dev/null || \
	  { python3 -m venv build/docs-venv && $(DOCS) -m pip install --quiet 'mkdocs<2' 'mkdocstrings[python]'; }
	$(DOCS) -m mkdocs build --strict

lint: environment
	$(PYTHON) -m pytest test/tools/test_lint.py
