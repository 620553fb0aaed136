"""Capturing changes from the write-ahead log, for tables without triggers.

A capture reads a logical replication slot, decodes what PostgreSQL's plugin ``pgoutput`` says, and
appends it to the change log in the form in which triggers write it, so that readers need not know
where a change came from. The folder may import ``triggers`` (what a table publishes), ``marking``,
``log``, ``protocol`` and the root.
"""
