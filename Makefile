# Each command makes its own environment in .venv: see dev.py.
PYTHON ?= python3

.PHONY: demo demo-cluster test lint docs serve-docs bench bench-compare matrix
demo demo-cluster test lint docs serve-docs bench bench-compare matrix:
	@$(PYTHON) dev.py $@
