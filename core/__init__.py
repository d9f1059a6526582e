"""The vocabulary everything else is written in: events, topics, ids, time, errors, settings and ports."""
