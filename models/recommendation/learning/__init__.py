"""Learning from the stream: what is fresh, what it teaches, and whether what was learned may be served."""
