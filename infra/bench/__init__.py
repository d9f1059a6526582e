"""Benchmarks: each measures one promise beside its baseline in the same run, and writes what it found as JSON."""
