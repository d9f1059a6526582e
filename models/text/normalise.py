"""Undoing what hides words from a machine and not from a reader, and telling how much of a text was hidden so.

Only disguises are undone: a word that is all Cyrillic stays Cyrillic, a number stays a number, and a text that hides
nothing comes back as it was but for compatibility forms (NFKC) and white space.
"""

import re
import unicodedata
from dataclasses import dataclass

MAX_CHARACTERS = 20_000

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_SPACE = re.compile(r"[ \t\u00a0\u3000]+")
_REPEATED = re.compile(r"([^\W\d_])\1{3,}")
_WORD = re.compile(r"[\w@$!|+]+", re.UNICODE)
#: Letters of other scripts that look like Latin ones.
_LOOK_ALIKE = str.maketrans(
    "АВЕЅЗІЈКМНОРСТУХаеѕіјорсухԁԛԝһցոՏՍΑΒΕΖΗΙΚΜΝΟΡΤΥΧαοριντυκηωɡı",
    "ABES3IJKMHOPCTYXaesijopcyxdqwhgnSUABEZHIKMNOPTYXaopivtuknwgi",
)
_DISGUISE = str.maketrans(
    {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "@": "a", "$": "s", "!": "i", "|": "l"}
)
_DISGUISES = frozenset("013457@$!|8")


@dataclass(frozen=True)
class Normalised:
    """`changed`: the share of the text's characters that were a disguise, 0 to 1."""

    text: str
    changed: float


def normalise(text: str) -> Normalised:
    """Return a text as a reader sees it. Bounded (`MAX_CHARACTERS`), linear in its length, never raises.

    Invisible and control characters go; letters that stand in for Latin ones in a word with Latin letters are turned
    into those; digits and signs inside words become the letters they look like; a letter repeated more than three times
    is written three times.
    """
    seen = text[:MAX_CHARACTERS]
    if seen.isascii() and not _suspicious(seen):
        return Normalised(_SPACE.sub(" ", seen).strip(), 0.0)
    hidden = len(_INVISIBLE.findall(seen))
    plain = _CONTROL.sub(" ", _INVISIBLE.sub("", seen))
    plain = unicodedata.normalize("NFKC", plain)[: 2 * MAX_CHARACTERS]
    counted = [hidden]

    def unmask(match: re.Match[str]) -> str:
        word = match.group()
        if "@" in word and (word[0] == "@" or match.string[match.end() : match.end() + 1] == "."):
            return word  # a mention, or an address
        shown = _unmasked(word)
        counted[0] += sum(before != after for before, after in zip(word, shown, strict=False))
        return shown

    plain = _WORD.sub(unmask, plain)
    squeezed = _REPEATED.sub(r"\1\1\1", plain)
    counted[0] += len(plain) - len(squeezed)
    return Normalised(_SPACE.sub(" ", squeezed).strip(), min(1.0, counted[0] / max(len(seen), 1)))


def _suspicious(text: str) -> bool:
    return bool(_CONTROL.search(text) or _REPEATED.search(text) or any(_masked(word) for word in _WORD.findall(text)))


def _masked(word: str) -> bool:
    """Tell whether letters of a word are written as digits or signs: one inside it, with letters on both sides."""
    if not _DISGUISES & set(word):
        return False
    letters = sum(character.isalpha() for character in word)
    inner = word.strip("!|+0123456789")
    return letters >= 2 and letters >= len(word) / 2 and bool(_DISGUISES & set(inner))


def _unmasked(word: str) -> str:
    latin = sum("a" <= character.lower() <= "z" for character in word)
    if not word.isascii() and latin:
        shown = word.translate(_LOOK_ALIKE)
        if shown.isascii() or sum(character.isascii() for character in shown) > sum(c.isascii() for c in word):
            word = shown
    if word.isascii() and _masked(word):
        end = len(word.rstrip("!|"))
        start = len(word) - len(word.lstrip("!|"))
        word = word[:start] + word[start:end].translate(_DISGUISE) + word[end:]
    return word
