"""Judgements of any images: a CSV with the columns query, candidate, grade (0 to 5), as the book describes them.

Paths are absolute or relative to the CSV. A query is ranked against its own judged candidates.
"""

import csv
import math
from pathlib import Path

import numpy as np

from core.errors import InvalidInput
from models.visual_search.tasks import Task

_COLUMNS = ("query", "candidate", "grade")
_SHOWN = 20


def read_judgements(path: Path) -> Task:
    """Read a judgement file into a task.

    Raises:
        InvalidInput: the file is missing, has other columns, no rows, or wrong rows. The message lists the wrong rows
            with their line numbers, up to twenty.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [column for column in _COLUMNS if column not in (reader.fieldnames or [])]
            if missing:
                raise InvalidInput(f"{path}: column {', '.join(missing)} is missing; columns are {', '.join(_COLUMNS)}")
            rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError as error:
        raise InvalidInput(f"{path}: there is no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path} cannot be read as a CSV file in UTF-8: {error}") from error
    if not rows:
        raise InvalidInput(f"{path} holds no judgements")
    problems: list[str] = []
    judged: dict[tuple[Path, Path], float] = {}
    for line, row in rows:
        try:
            pair = (_image(path, row["query"], "query"), _image(path, row["candidate"], "candidate"))
            grade = _grade(row["grade"])
            if pair in judged:
                raise InvalidInput("this query and candidate were judged before")
            judged[pair] = grade
        except InvalidInput as error:
            problems.append(f"  line {line}: {error}")
    if problems:
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise InvalidInput(f"{path} has {len(problems)} wrong rows:\n" + "\n".join(problems[:_SHOWN]) + more)
    queries = tuple(dict.fromkeys(query for query, _ in judged))
    gallery = tuple(dict.fromkeys(candidate for _, candidate in judged))
    grades = np.full((len(queries), len(gallery)), np.nan)
    rows_of, columns_of = ({image: i for i, image in enumerate(side)} for side in (queries, gallery))
    for (query, candidate), grade in judged.items():
        grades[rows_of[query], columns_of[candidate]] = grade
    return Task("judgements", f"the judgements of {path.name}", queries, gallery, grades)


def _image(file: Path, value: str | None, column: str) -> Path:
    if not value or not value.strip():
        raise InvalidInput(f"{column} is empty")
    image = file.parent / value.strip()  # an absolute path stays as it is
    if not image.is_file():
        raise InvalidInput(f"{column} {value.strip()!r}: there is no such image ({image})")
    return image.resolve()


def _grade(value: str | None) -> float:
    try:
        grade = float(value or "")
    except ValueError as error:
        raise InvalidInput(f"grade {value!r} is not a number") from error
    if not math.isfinite(grade) or not 0 <= grade <= 5:
        raise InvalidInput(f"grade {value!r} does not lie between 0 and 5")
    return grade
