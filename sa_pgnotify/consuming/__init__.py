"""Consumers: process each change of the log exactly once, in the transaction of the program's work.

A follower reads ahead of the stored position, a worker gives out batches, and a batch commits its
position together with the program's work. It may import ``scanning``, ``subscription`` and what
these import, and nothing of ``listening``.
"""
