"""Sentences written for this project: posts to learn and test from, benign but edgy ones, comments."""

from pathlib import Path
from typing import Any

import yaml

from core.moderation import HARM_CLASSES
from models.datasets.spec import Split
from models.datasets.texts import LabelledText

FOLDER = Path(__file__).parent
_BENIGN: dict[str, float] = dict.fromkeys(HARM_CLASSES, 0.0)


def own_posts(split: Split) -> list[LabelledText]:
    """Return the project's own posts of a split (`train` or `test`); translations share a group."""
    posts = []
    for number, row in enumerate(_read("posts.yaml")):
        if row["split"] != split:
            continue
        harm = {**_BENIGN, row["harm"]: 1.0} if row["harm"] != "none" else _BENIGN
        for language, text in row.items():
            if language not in ("harm", "split"):
                posts.append(LabelledText(text, f"own-{split}", harm, language, f"own-{number}"))
    return posts


def edgy_posts() -> list[LabelledText]:
    """Return benign sentences with words that harm is made of, for false positives. `group` is their topic.

    `source` is `edgy`, or `edgy-new` for topics of which there are no training sentences either.
    """
    return [
        LabelledText(text, source, _BENIGN, language, topic)
        for name, source in (("edgy.yaml", "edgy"), ("edgy_new.yaml", "edgy-new"))
        for topic, languages in _read(name).items()
        for language, texts in languages.items()
        for text in texts
    ]


def comments() -> dict[str, list[str]]:
    """Return comments by what they react to: each class of harm, and `neutral`."""
    found: dict[str, list[str]] = _read("comments.yaml")
    return found


def _read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
