"""Splits without leaks: a concept is in one split in every style, and so are its variants.

The split of a concept is a hash of its family, so it does not depend on which data sets are installed, on their order,
or on what is added later. Variants of one emoji (skin tone, gender, direction) are drawn almost alike; they are one
family, else a model could answer a test query by a training image.
"""

import hashlib

from models.datasets.spec import Split

_SEED = "riverlight-1"  # changing it changes every split: published numbers are no longer comparable
_TEST_SHARE, _VALIDATION_SHARE = 0.22, 0.08

_PEOPLE = frozenset({"1f468", "1f469", "1f9d1"})  # man, woman, person: the same picture with other hair
_MODIFIERS = frozenset(
    {"200d", "fe0f", "2640", "2642", "27a1"}  # joiner, presentation, female, male, facing right
    | {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}  # skin tones
    | {"1f9b0", "1f9b1", "1f9b2", "1f9b3"}  # red, curly, no, white hair
)
_SAME_DRAWING = {
    **dict.fromkeys((f"1f{code:x}" for code in range(0x550, 0x568)), "clock"),  # 24 clock faces
    **dict.fromkeys((f"1f{code:x}" for code in range(0x311, 0x319)), "moon-phase"),
    **dict.fromkeys(("1f385", "1f936"), "santa"),
    **dict.fromkeys(("1f474", "1f475", "1f9d3"), "older-person"),
    **dict.fromkeys(("1f466", "1f467", "1f9d2"), "child"),
    **dict.fromkeys(("1f478", "1f934", "1fac5"), "royalty"),
    **dict.fromkeys(("1f57a", "1f483"), "dancer"),
}


def emoji_concept(code_points: str) -> str:
    """Return the concept of an emoji sequence such as `2764-FE0F`: lower case, without presentation selectors."""
    return "-".join(part for part in code_points.lower().split("-") if part != "fe0f")


def emoji_family(code_points: str) -> str:
    """Return what is left of a sequence without skin tone, gender, hair and direction."""
    parts = [part for part in code_points.lower().split("-") if part not in _MODIFIERS]
    kept = ["person" if part in _PEOPLE else _SAME_DRAWING.get(part, part) for part in parts]
    return "-".join(sorted(set(kept))) if kept and set(kept) == {"person"} else "-".join(kept)


def split_of(family: str) -> Split:
    """Return the split of a family: 22 % test, 8 % validation, the rest training."""
    position = int.from_bytes(hashlib.sha256(f"{_SEED}{family}".encode()).digest()[:4], "big") / 2**32
    if position < _TEST_SHARE:
        return "test"
    return "validation" if position < _TEST_SHARE + _VALIDATION_SHARE else "train"
