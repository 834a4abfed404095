# Two commands do everything: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test check bench clean

demo: $(VENV)/local
	$(BIN)/agentloop demo

test: $(VENV)/dev
	$(BIN)/python -m pytest

check: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/dev
	$(BIN)/python -m benchmarks all

clean:
	rm -rf $(VENV)

# Torch first, as the constraints have it: what comes after would bring several GB of CUDA along.
$(VENV)/local: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "agentloop needs Python 3.11 or newer; name one with PYTHON=")'
	@echo "installing agentloop and the local provider into $(VENV) (2 GB, 5 where PyTorch brings CUDA along; some minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) -c constraints.txt torch
	@$(PIP) -c constraints.txt -e '.[local]'
	@touch $@

$(VENV)/dev: $(VENV)/local
	@echo "installing what the tests need"
	@$(PIP) -c constraints.txt -e '.[local,postgres,otel,dev]'
	@touch $@
