"""Versions of trained models, checked by hash, and the aliases that say which one serves."""
