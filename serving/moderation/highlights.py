"""Highlights: a post's text in pieces, those marked that speak for a harm."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from core.moderation import Evidence, HarmClass, MediaEvidence, TextEvidence


@dataclass(frozen=True)
class Piece:
    """Some of the text. `harms` are the classes that it speaks for, and by how much; empty for the rest."""

    text: str
    harms: tuple[tuple[HarmClass, float], ...] = ()


def pieces(text: str, evidence: Sequence[Evidence]) -> list[Piece]:
    """Cut a text where evidence begins and ends. All pieces together are the text, whatever the evidence says.

    Evidence of an older version of the text is marked where its words stand now, or not at all.
    """
    spans = list(_spans(text, evidence))
    cuts = sorted({0, len(text), *(place for start, end, _, _ in spans for place in (start, end))})
    found: list[Piece] = []
    for start, end in pairwise(cuts):
        harms: dict[HarmClass, float] = {}
        for first, last, harm, weight in spans:
            if first <= start and end <= last:
                harms[harm] = max(weight, harms.get(harm, weight))
        found.append(Piece(text[start:end], tuple(sorted(harms.items(), key=lambda pair: -pair[1]))))
    return found


def regions(evidence: Sequence[Evidence]) -> dict[str, list[MediaEvidence]]:
    """Return, by media id, what of it speaks for a harm."""
    found: dict[str, list[MediaEvidence]] = {}
    for part in evidence:
        if isinstance(part, MediaEvidence):
            found.setdefault(part.media_id, []).append(part)
    return found


def _spans(text: str, evidence: Sequence[Evidence]) -> Iterator[tuple[int, int, HarmClass, float]]:
    for part in evidence:
        if not isinstance(part, TextEvidence) or not part.quote:
            continue
        start = part.start
        if text[start : part.end] != part.quote:
            start = text.find(part.quote)
        if start >= 0:
            yield start, start + len(part.quote), part.harm, part.weight
