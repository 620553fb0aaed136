"""Listeners: events from a live connection to a program's loop, in threads and in asyncio.

A receiver reads the connection at all times and keeps what arrives in a bounded buffer; continuity
turns every loss into a ``Gap`` in its place. It may import ``subscription`` and what that imports,
and nothing of ``consuming``.
"""
