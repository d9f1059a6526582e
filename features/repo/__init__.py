"""Feast definitions, and nothing else."""
