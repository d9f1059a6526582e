"""Texts with labels of harm: the form that every data set of texts is rewritten into when it is installed."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import IntegrityError

TEXTS = "texts.jsonl"
FILES = (TEXTS,)


@dataclass(frozen=True)
class LabelledText:
    """One text and what its source says about it.

    `harm` has a value from 0 to 1 for each class that the source judged; a class it says nothing about is not there.
    `source` names the part of the data set; `language` is an ISO 639-1 code. Texts of one `group` (answers to one
    question) belong into one split.
    """

    text: str
    source: str
    harm: Mapping[str, float] = field(default_factory=dict)
    language: str = "en"
    group: str = ""


def write_texts(texts: Iterable[LabelledText], folder: Path) -> None:
    """Write `texts.jsonl`, one object a line."""
    with (folder / TEXTS).open("w", encoding="utf-8") as out:
        for one in texts:
            line = {"text": one.text, "source": one.source, "language": one.language, "group": one.group}
            out.write(json.dumps({**line, "harm": dict(one.harm)}, ensure_ascii=False) + "\n")


def read_texts(folder: Path) -> list[LabelledText]:
    """Read what `write_texts` wrote, in its order; raises IntegrityError naming the line that cannot be read."""
    texts: list[LabelledText] = []
    path = folder / TEXTS
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                texts.append(LabelledText(**row))
            except (ValueError, TypeError) as error:
                raise IntegrityError(f"{path}, line {number}: {error!r}; install the data set again") from error
    return texts
