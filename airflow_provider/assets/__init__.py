"""Assets: the ``lakefs://`` scheme, and the events of tasks."""
