"""Delivery under chaos: see :mod:`turmoil.rounds`. ``benchmarks/chaos.py`` runs it for minutes,
``tests/testing/test_chaos.py`` for seconds."""
