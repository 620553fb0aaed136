"""What a developer declares: ``NotifyOnChange``, ``NotifySpec``, and what they mean for a table.

A declaration is checked here and kept as plain data in ``Table.info``; the sources of a listener are
expanded into tables by the same rules. This folder makes no DDL. It may import ``log`` (a durable
declaration adds the log's tables), ``protocol`` and the root.
"""
