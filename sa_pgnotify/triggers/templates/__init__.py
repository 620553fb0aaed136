"""The SQL of the trigger functions, one set of modules for each version of the template.

A released version never changes, because migrations name it; a new one stands beside it.
"""

from .v1 import FunctionV1

__all__ = ["NEWEST", "TEMPLATES"]

TEMPLATES = {1: FunctionV1}
"""The class that makes a trigger function, by template version. Old versions stay, because
migrations name them."""

NEWEST = max(TEMPLATES)
