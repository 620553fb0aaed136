"""From a declaration to DDL, and back from the database.

A trigger set describes one table's triggers, the templates make its function, and the install
statements bring both into a database; the hooks run them with ``create_all`` and ``drop_all``. The
catalog is read back and compared with the models. It may import ``marking``, ``log``, ``protocol`` and the root.
"""
