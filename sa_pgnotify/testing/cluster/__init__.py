"""The check of a relay: see :class:`sa_pgnotify.testing.ClusterCheck`."""
