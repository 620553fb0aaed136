"""From the bytes of a message to typed events.

A message is split into rows and fields, and the fields are decoded by the types of their columns
when a program reads the values of an event. What cannot be read becomes a ``Gap`` in its place.
Nothing here waits or connects. It may import ``marking``, ``log``, ``drivers``, ``protocol`` and
the root.
"""
