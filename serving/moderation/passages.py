"""Cutting a text into passages that an encoder reads whole, so that nothing hides behind the first paragraph."""

import re
from dataclasses import dataclass

PASSAGE_CHARACTERS = 480  # about 120 tokens of most languages
MAX_PASSAGES = 12
_BREAK = re.compile(r"[.!?…。！？\n]+[\s\"')\]]*|\s+")


@dataclass(frozen=True)
class Passage:
    """`text` is what stands from `start` on in the text that was cut."""

    text: str
    start: int


def passages(text: str, *, length: int = PASSAGE_CHARACTERS, most: int = MAX_PASSAGES) -> tuple[list[Passage], bool]:
    """Cut a text at sentences or, where there are none, words; return the passages and whether that is all of it.

    Of a text of more than `most` passages the first, the last and evenly many between are returned. A text without
    characters other than white space has none.
    """
    found: list[Passage] = []
    start = 0
    while start < len(text):
        end = min(start + length, len(text))
        if end < len(text):
            end = _break_before(text, start, end)
        if text[start:end].strip():
            found.append(Passage(text[start:end], start))
        start = end
    if len(found) <= most:
        return found, True
    step = (len(found) - 1) / (most - 1)
    return [found[round(place * step)] for place in range(most)], False


def _break_before(text: str, start: int, end: int) -> int:
    """Return the end of the last sentence before `end`, else of the last word, else `end`."""
    words = sentence = 0
    for match in _BREAK.finditer(text, start + (end - start) // 2, end):
        words = match.end()
        if not match.group().isspace() or "\n" in match.group():
            sentence = match.end()
    return sentence or words or end
