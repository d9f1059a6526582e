"""Proof of the promise "nothing lost, nothing applied twice": a ledger, a nemesis, goals, and what they found."""
