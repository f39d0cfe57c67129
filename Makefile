# Everything runs in a virtual environment of its own, made at the first use. SALT=3006, 3007 or 3008 chooses a Salt; without it,
# 3006, which is what MITx runs, or the newest where Python is too new for that.
PYTHON ?= python3
SALT ?=
VENV ?= .venv$(if $(SALT),-$(SALT))
PY := $(VENV)/bin/python
SIZE ?= qa
# Checkouts of MITx's salt-ops and salt-extensions: their orchestrations in place of the sandbox's stand-ins. Salt 3006, root.
SALT_OPS ?=
SALT_EXTENSIONS ?=
EXISTING = $(if $(SALT_OPS),--salt-ops '$(SALT_OPS)') $(if $(SALT_EXTENSIONS),--salt-extensions '$(SALT_EXTENSIONS)')
TESTS ?= tests
# Two files at a time; the long ones begin first (tests/conftest.py).
PARALLEL ?= -n 2 --dist loadfile --no-loadscope-reorder
CHOSEN = $(if $(SALT),salt~=$(SALT).0,$(shell $(PYTHON) -c 'import sys; print("salt~=3006.0" if sys.version_info < (3, 13) else "salt")'))

.PHONY: upgrade rehearsal test check down lint docs pictures measure bench clean

upgrade: $(VENV)/ready
	$(PY) -m sandbox upgrade --size $(SIZE) $(EXISTING)

rehearsal: $(VENV)/ready
	$(PY) -m sandbox rehearsal --size $(SIZE) $(EXISTING)

test: $(VENV)/ready
	$(PY) -m pytest $(PARALLEL) $(TESTS)

check: lint
	$(PY) -m pytest $(PARALLEL) tests/architecture $(wildcard tests/mitx_*)

down: $(VENV)/ready
	$(PY) -m sandbox down

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	PYTHONPATH=_modules $(VENV)/bin/lint-imports --no-cache
	$(PY) docs/architecture.py --check

docs: $(VENV)/ready
	$(PY) -m pip install --quiet -e '.[docs]'
	$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build
	@echo docs/_build/index.html

measure: $(VENV)/ready
	$(PY) docs/measure.py

bench: $(VENV)/ready
	$(PY) -m pip install --quiet -e '.[bench]'
	$(PY) benchmarks/page.py

pictures: $(VENV)/ready
	$(PY) docs/pictures.py

clean: down
	rm -rf .venv .venv-* .sandbox docs/_build docs/reference

$(VENV)/ready: setup.py
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 10) else "Python 3.10 or later is needed")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet '$(CHOSEN)' -e '.[tests]'
	@touch $@
