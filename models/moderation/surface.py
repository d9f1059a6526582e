"""What a text looks like, beside what it means: length, capitals, digits, links, things to call or pay.

Most of it speaks for or against spam, which an embedding of the meaning sees poorly.
"""

import math
import re

SURFACE = (
    "length",
    "words",
    "upper",
    "digits",
    "exclamation",
    "question",
    "links",
    "contacts",
    "money",
    "repeated",
    "profane_rate",
    "profane_known",
    "obfuscated",
)
_LONGEST = 4_000  # characters that are looked at

_LINK = re.compile(r"https?://|www\.\w|\b[\w-]+\.(?:com|net|org|info|biz|ru|cn|io|co|uk|de|xyz|top|click)\b", re.I)
_CONTACT = re.compile(r"\+?\d[\d\s().-]{4,}\d|[\w.+-]+@[\w-]+\.\w+")
_MONEY = re.compile(r"[$€£¥₽₹]\s?\d|\d\s?[$€£¥₽₹%]|\b\d+\s?(?:usd|eur|gbp|dollars?|euros?|pounds?)\b", re.I)
_REPEAT = re.compile(r"(.)\1{3,}", re.S)


def surface_of(
    text: str, *, links: int = 0, profane_rate: float = math.nan, obfuscated: float = math.nan
) -> list[float]:
    """Return the values of `SURFACE`, each about 0 to 1. `links` are those known from elsewhere than the text."""
    seen = text[:_LONGEST]
    letters = sum(character.isalpha() for character in seen) or 1
    known = math.isfinite(profane_rate)
    return [
        math.log1p(len(seen)) / 8.0,
        math.log1p(len(seen.split())) / 8.0,
        sum(character.isupper() for character in seen) / letters,
        sum(character.isdigit() for character in seen) / max(len(seen), 1),
        min(seen.count("!"), 5) / 5.0,
        min(seen.count("?"), 5) / 5.0,
        min(max(links, len(_LINK.findall(seen))), 5) / 5.0,
        min(len(_CONTACT.findall(seen)), 5) / 5.0,
        min(len(_MONEY.findall(seen)), 5) / 5.0,
        min(len(_REPEAT.findall(seen)), 5) / 5.0,
        min(profane_rate * 5.0, 1.0) if known else 0.0,
        float(known),
        min(obfuscated * 5.0, 1.0) if math.isfinite(obfuscated) else 0.0,
    ]
