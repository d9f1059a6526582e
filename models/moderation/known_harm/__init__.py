"""Media that are known to be harmful, found again by perceptual hash."""

from models.moderation.known_harm.hashes import HashChange, Hit, check_listable, format_hash, parse_hash
from models.moderation.known_harm.index import KnownHarm, Matches
from models.moderation.known_harm.posts import known_hits

__all__ = [
    "HashChange",
    "Hit",
    "KnownHarm",
    "Matches",
    "check_listable",
    "format_hash",
    "known_hits",
    "parse_hash",
]
