"""From the bytes of a message to typed events.

A message is taken apart, its texts are decoded by the types of the columns, and an event reads its
values only when a program asks for them; what cannot be read becomes a ``Gap`` in its place. Nothing
here waits or connects. It may import ``marking``, ``log``, ``drivers``, ``protocol`` and the root.
"""
