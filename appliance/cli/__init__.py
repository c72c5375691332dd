"""The ``dmarcgate`` command: one module a noun, loaded when it is called."""

from appliance.cli.root import main

__all__ = ["main"]
