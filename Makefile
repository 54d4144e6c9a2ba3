# make demo    discovers 16 sliders in "a monster" and says where the report is
# make test    runs the tests and the checks
# make docs    builds the documents as a site: build/site/index.html
# make test-slow       what takes minutes: the table of costs counted again, the site built
# make test-families   every model family at toy size: discovery, export, the file in diffusers, and back
#
# Both set up .venv first: once, and again when pyproject.toml or constraints.txt change. Say which Python with
# `make PYTHON=/path/to/python3.12 demo`. Where pip would fetch a GPU build of torch and you want the smaller CPU one, name
# PyTorch's own CPU index in the environment variable PIP_EXTRA_INDEX_URL before the first run.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
CANDIDATES := $(PYTHON) python3 python3.11 python3.12 python3.13 python3.14
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

.PHONY: demo test check docs test-families test-slow bench clean

demo: $(VENV)/.installed
	$(BIN)/sliderspace discover "a monster" --backbone mini-turbo --sliders 16 --samples 1000 --out runs/monster

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow and not gpu and not families"
	@$(MAKE) --no-print-directory check

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

test-families: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m families

test-slow: $(VENV)/.installed-docs
	$(BIN)/python -m pytest -m "slow and not gpu"

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/update.py
	$(BIN)/python benchmarks/update.py --compile

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.made:
	@for python in $(CANDIDATES); do \
	  if $$python -c '$(USABLE)' 2>/dev/null; then \
	    echo "$$python -m venv $(VENV)"; $$python -m venv --clear $(VENV) && touch $@; exit; \
	  fi; \
	done; \
	echo "sliderspace needs Python 3.11 or newer with venv and pip; install one, or say which: make PYTHON=/path/to/python3.11" >&2; exit 1

# torch alone and pinned first: otherwise another package's wish for "any torch" may bring gigabytes of a GPU build.
$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python -m pip install -c constraints.txt torch
	$(BIN)/python -m pip install -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed-dev
	$(BIN)/python -m pip install -c constraints.txt -e '.[docs]'
	@touch $@
