"""The SQL of the trigger functions, one module for each version of the template.

A released version never changes, because migrations name it; a new one stands beside it.
"""
