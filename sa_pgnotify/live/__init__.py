"""Live queries: the result of a SELECT, and then every change to this result.

PostgreSQL evaluates every statement; nothing here interprets SQL. A feed learns which rows have
changed, and evaluates the queries that read them: it runs the whole statement, or looks up only the
changed rows. The folder may import ``listening``, ``subscription``, ``events``, ``marking``,
``log``, ``drivers``, ``protocol`` and the root.
"""
