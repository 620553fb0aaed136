"""The durable change log: its tables, how it is read, and how it is emptied.

A reader goes from snapshot to snapshot and returns each committed change once. A tail follows the
log on a connection, and sleeps until a writer rings. Nothing here depends on consumers or
listeners. It may import ``protocol`` and the root.
"""
