"""Entry points of the processes that the supervisor starts: read the settings, wire, run."""
