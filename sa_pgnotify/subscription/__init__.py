"""A connection that listens, and is kept alive.

A link connects, proves that notifications arrive, and backs off when the connection breaks;
subscribing finds out which channels carry which tables, and a watch that their triggers stay what
they were. It may import ``events``, ``triggers``, ``drivers`` and what those import.
"""
