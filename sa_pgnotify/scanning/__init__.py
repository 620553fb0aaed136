"""Reading the rows that a table holds: in chunks, in the order of their identity, as events.

A chunk is read in a snapshot that the caller chooses, so that rows and changes can be joined
without a hole. It may import ``events``, ``marking``, ``log``, ``drivers``, ``protocol`` and the root.
"""
