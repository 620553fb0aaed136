# Each command makes its own environment in .venv: see dev.py.
PYTHON ?= python3

.PHONY: demo test lint docs serve-docs bench matrix
demo test lint docs serve-docs bench matrix:
	@$(PYTHON) dev.py $@
