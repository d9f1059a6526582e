"""The local supervisor: ordered start with readiness, restart with backoff, stop of everything."""
