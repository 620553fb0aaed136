"""What the triggers in the database and the readers in Python agree on.

It holds the layout of a message, the names of channels, and the two questions that a trigger
answers by advisory locks: does anybody listen (presence), and does a reader sleep (doorbell)?
Nothing here waits or connects. It may import only the modules at the package's root.
"""
