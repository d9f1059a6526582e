"""Scoring of posts for harm: what the `moderator` deployment runs."""
