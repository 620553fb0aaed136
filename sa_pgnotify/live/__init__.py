"""Live queries: the result of a SELECT, and then each difference of it.

PostgreSQL evaluates every statement; nothing here interprets SQL. A feed learns what has changed,
and evaluates the queries that read it again: whole, or only for the rows that changed. It may
import ``listening``, ``subscription``, ``events``, ``marking``, ``log``, ``drivers``, ``protocol``
and the root.
"""
