"""From a declaration to DDL, and back from the database.

Templates make the trigger functions, and a trigger set makes the statements that install and remove
them; the hooks run those with ``create_all`` and ``drop_all``; the catalog is read back and compared
with the models. It may import ``marking``, ``log``, ``protocol`` and the root.
"""
