"""Measures of ranked answers."""
