"""Reading somebody's own labelled posts: a JSON object a line, checked, with errors that name the lines.

{"text": "...", "label": "spam"}
{"text": "...", "image": "pictures/1.png", "labels": {"violence": 1, "hate": 0}, "language": "de", "group": "forum"}
{"text": "...", "label": "none", "scores": {"violence": 0.01, "spam": 0.2}}
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import InvalidInput
from core.moderation import HARM_CLASSES

NONE = ("none", "benign", "harmless", "ok")
_KNOWN = ("text", "image", "label", "labels", "language", "group", "scores")
_MOST_COMPLAINTS = 8
_LONGEST_LINE = 2_000_000
_MOST_LINES = 1_000_000


@dataclass(frozen=True)
class LabelledPost:
    """One line. `labels` and `scores` by class; a class that is not named was not judged."""

    line: int
    labels: Mapping[str, float]
    text: str = ""
    image: Path | None = None
    language: str = "und"
    group: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)


def read_labels(path: Path) -> list[LabelledPost]:
    """Read a file of labelled posts. Paths of images are absolute, or beside the file.

    Raises:
        InvalidInput: the file is not there, is empty, or has lines that are wrong; the first of them are named.
    """
    posts: list[LabelledPost] = []
    complaints: list[str] = []
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if number > _MOST_LINES:
                    raise InvalidInput(f"{path} has more than {_MOST_LINES:,} lines; split it")
                if not line.strip():
                    continue
                try:
                    posts.append(_post(line, number, path.parent))
                except ValueError as error:
                    complaints.append(f"line {number}: {error}")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not a UTF-8 text file: {error.reason} at byte {error.start}") from error
    if complaints:
        more = f"\n... and {len(complaints) - _MOST_COMPLAINTS} more" if len(complaints) > _MOST_COMPLAINTS else ""
        shown = "\n".join(complaints[:_MOST_COMPLAINTS])
        raise InvalidInput(f"{path}: {len(complaints)} lines cannot be used\n{shown}{more}")
    if not posts:
        raise InvalidInput(f"{path} holds no posts; each line is a JSON object with a label")
    scored = sum(bool(post.scores) for post in posts)
    if scored not in (0, len(posts)):
        bare = next(post.line for post in posts if not post.scores)
        raise InvalidInput(
            f"{path}: {scored} lines have scores and others, as line {bare}, have none; give all or none"
        )
    return posts


def _post(line: str, number: int, folder: Path) -> LabelledPost:
    """Read one line; raises ValueError saying what is wrong with it."""
    if len(line) > _LONGEST_LINE:
        raise ValueError(f"it has {len(line):,} characters; at most {_LONGEST_LINE:,} are read")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON object: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"it is {_kind(row)}, not a JSON object")
    strange = sorted(set(row) - set(_KNOWN))
    if strange:
        raise ValueError(f"unknown field {strange[0]!r}; fields are {', '.join(_KNOWN)}")
    text, image = _text(row, "text"), _text(row, "image")
    scores = _by_class(row.get("scores"), "scores")
    if not text.strip() and not image and not scores:
        raise ValueError("it has neither a text nor an image nor scores")
    picture = None
    if image:
        picture = folder / image
        if not picture.is_file():
            raise ValueError(f"there is no image {picture}")
    return LabelledPost(
        line=number,
        labels=_labels(row),
        text=text,
        image=picture,
        language=_text(row, "language") or "und",
        group=_text(row, "group"),
        scores=scores,
    )


def _labels(row: Mapping[str, Any]) -> dict[str, float]:
    if ("label" in row) == ("labels" in row):
        raise ValueError("it needs either `label` or `labels`")
    if "labels" in row and isinstance(row["labels"], Mapping):
        found = _by_class(row["labels"], "labels")
        if not found:
            raise ValueError("labels is empty")
        return found
    named = row.get("label", row.get("labels"))
    names = named if isinstance(named, list) else [named]
    for name in names:
        if not isinstance(name, str) or name not in (*HARM_CLASSES, *NONE):
            raise ValueError(f"there is no class {name!r}; classes are {', '.join(HARM_CLASSES)}, or none")
    return {harm: float(harm in names) for harm in HARM_CLASSES}


def _by_class(value: object, name: str) -> dict[str, float]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is {_kind(value)}, not an object of classes")
    found = {}
    for harm, number in value.items():
        if harm not in HARM_CLASSES:
            raise ValueError(f"{name} has an unknown class {harm!r}; classes are {', '.join(HARM_CLASSES)}")
        if number is None:
            continue
        if not isinstance(number, int | float) or not math.isfinite(number) or not 0 <= number <= 1:
            raise ValueError(f"{name}.{harm} is {str(number)[:40]}, not a number from 0 to 1")
        found[harm] = float(number)
    return found


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name} is {_kind(value)}, not a text")
    return value


def _kind(value: object) -> str:
    return {dict: "an object", list: "a list", str: "a text", bool: "true or false"}.get(type(value), "a number")
