"""Alembic operations for the triggers of sa_pgnotify. None yet: until then, install the triggers with ``metadata.create_all``."""
