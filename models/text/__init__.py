"""Texts as numbers: encoders that embed them, their language, and their plain form under disguises."""
