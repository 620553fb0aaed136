"""A listening connection that is kept alive, and what it is subscribed to.

A link connects, proves that notifications arrive, and backs off when the connection breaks. A
subscription finds out which channels carry which tables, and a watch notices when their triggers
are altered. It may import ``events``, ``triggers``, ``drivers`` and what those import.
"""
