"""The subcommands of ``lakefs-ops``, one module each."""
