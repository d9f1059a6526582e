"""Damage to the files of a snapshot, as disks and people do it."""

import random
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Damage:
    """What was done to which file."""

    file: Path
    how: str  # flip, truncate, append, remove, empty

    def __str__(self) -> str:
        return f"{self.how} {self.file.name}"


def damage(snapshot: Path, rng: random.Random) -> Damage:
    """Change one file of a snapshot; return which, and how. The same `rng` and files give the same damage."""
    victim = rng.choice(sorted(snapshot.iterdir()))
    data = bytearray(victim.read_bytes())
    how = rng.choice(["flip", "flip", "truncate", "append", "remove", "empty"])
    match how:
        case "flip":
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case "truncate":
            del data[rng.randrange(len(data)) :]
        case "append":
            data += b"\0"
        case "empty":
            data.clear()
    if how == "remove":
        victim.unlink()
    else:
        victim.write_bytes(data)
    return Damage(victim, how)
