"""Listeners: events from a live connection to a program's loop, in threads and in asyncio.

A receiver reads the connection at all times and keeps what arrives in a bounded buffer. Every loss
becomes a ``Gap``, in the place where events are missing. It may import ``subscription`` and what
that imports, and nothing of ``consuming``.
"""
