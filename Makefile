# Each command makes its own environment in .venv: see dev.py.
PYTHON ?= python3

.PHONY: demo test lint docs serve-docs bench bench-compare matrix
demo test lint docs serve-docs bench bench-compare matrix:
	@$(PYTHON) dev.py $@
