# Each command makes its own environment in .venv: see dev.py.
PYTHON ?= python3

.PHONY: demo test lint bench matrix
demo test lint bench matrix:
	@$(PYTHON) dev.py $@
