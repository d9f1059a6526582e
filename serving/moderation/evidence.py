"""What in a post speaks for a harm: words whose absence makes it less probable, and parts of images."""

import re
from collections.abc import Mapping, Sequence

from core.moderation import HarmClass, MediaEvidence, TextEvidence
from core.ports import Crop, EncodedImage
from serving.moderation.media import Look, MediaLooks
from serving.moderation.passages import Passage

MAX_SEGMENTS = 6  # texts that are encoded to explain one
_KEPT = 3
_LEAST = 0.02  # of probability: less is noise
_WORD = re.compile(r"\S+")
_QUARTERS: tuple[Crop, ...] = ((0, 0, 0.5, 0.5), (0.5, 0, 0.5, 0.5), (0, 0.5, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5))

Span = tuple[int, int]


def segments(text: str, most: int = MAX_SEGMENTS) -> list[Span]:
    """Cut a text into at most `most` runs of whole words of about the same number of words."""
    words = [match.span() for match in _WORD.finditer(text)]
    size = max(1, -(-len(words) // most))
    return [(words[at][0], words[min(at + size, len(words)) - 1][1]) for at in range(0, len(words), size)]


def text_evidence(
    harm: HarmClass, passage: Passage, parts: Sequence[Span], falls: Sequence[float]
) -> list[TextEvidence]:
    """Return the parts that speak most for a harm, the strongest first.

    `falls` is how much the probability falls without each part (occlusion). Places are those of the whole text.
    """
    ranked = sorted(zip(falls, parts, strict=True), key=lambda pair: -pair[0])
    return [
        TextEvidence(
            harm=harm,
            start=passage.start + start,
            end=passage.start + end,
            quote=passage.text[start:end],
            weight=round(fall, 4),
        )
        for fall, (start, end) in ranked[:_KEPT]
        if fall >= _LEAST
    ]


async def nudity_regions(
    media: MediaLooks, looks: Mapping[str, Look], media_ids: Sequence[str], timeout_s: float
) -> list[MediaEvidence]:
    """Return the medium with the highest NSFW score, and the quarter of it that scores highest, if one does."""
    scored = {
        media_id: look.nsfw
        for media_id in media_ids
        if isinstance(look := looks.get(media_id), EncodedImage) and look.nsfw is not None
    }
    if not scored:
        return []
    worst = max(scored, key=lambda media_id: scored[media_id])
    whole = scored[worst]
    parts = await media.parts(worst, _QUARTERS, timeout_s)
    seen = [
        (part.nsfw, crop)
        for part, crop in zip(parts, _QUARTERS, strict=True)
        if isinstance(part, EncodedImage) and part.nsfw is not None
    ]
    value, region = max(seen, default=(0.0, None), key=lambda pair: pair[0])
    found = region if region is not None and value >= whole / 2 else None
    return [MediaEvidence(harm="nudity", media_id=worst, weight=round(whole, 4), region=found)]
