"""MovieLens 100K as a platform's past and future: films are videos, ratings likes and dislikes, and times end now."""

import csv
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.errors import ConfigurationError, RiverlightError
from models.datasets import movielens
from models.datasets.catalogue import install, installed_folder
from models.recommendation.data import DEFAULT
from models.recommendation.described import USER_COLUMNS
from models.recommendation.features import table_of_columns
from models.recommendation.feedback import Feedback
from models.recommendation.interactions import make_log
from models.recommendation.labels import label

PAST = 0.8  # share of the ratings that were before the demo
LIKED, DISLIKED = 4.0, 2.0  # stars from which on, and up to which


@dataclass(frozen=True)
class Film:
    """One video."""

    item_id: str
    title: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Rating:
    """One rating; `time_s` is the data set's, seconds since 1970."""

    user: str
    item_id: str
    stars: float
    time_s: float


@dataclass(frozen=True)
class Films:
    """The films, who rated them (age and gender by user), and all ratings in the order of time, cut in two."""

    films: tuple[Film, ...]
    people: dict[str, tuple[str, str]]
    past: tuple[Rating, ...]
    future: tuple[Rating, ...]

    def feedback(self) -> Feedback:
        """Return the past as training reads it, with what the platform will know of films and people."""
        users = tuple(sorted({one.user for one in self.past}))
        log = make_log(
            [one.user for one in self.past],
            [one.item_id for one in self.past],
            np.array([one.time_s for one in self.past]),
            values=np.array([one.stars for one in self.past], np.float32),
            users=users,
            items=[film.item_id for film in self.films],
        )
        columns = {"title": [film.title for film in self.films], "tags": ["|".join(film.tags) for film in self.films]}
        cells = dict.fromkeys(USER_COLUMNS[:2])  # age_band, gender
        about = {name: [self.people[user][place] for user in users] for place, name in enumerate(cells)}
        return replace(
            label(log),
            item_table=table_of_columns(log.items, columns),
            user_table=table_of_columns(log.users, about),
        )


def load_films(home: Path, count: int, progress: Callable[[str], None]) -> Films | None:
    """Return the `count` films rated most in the past, or None where the data cannot be had; `progress` says why."""
    try:
        install(DEFAULT, home, progress)
        folder = installed_folder(DEFAULT, home)
    except (RiverlightError, ConfigurationError) as error:
        progress(f"{DEFAULT} cannot be had here, so nothing is recommended: {error}")
        return None
    return read_films(folder, count)


def read_films(folder: Path, count: int) -> Films:
    """Read the installed tables."""
    ratings = sorted(
        (
            Rating(row["user"], _film_id(row["item"]), float(row["value"]), float(row["timestamp"]))
            for row in _rows(folder / movielens.INTERACTIONS)
        ),
        key=lambda one: (one.time_s, one.user, one.item_id),
    )
    cut = int(PAST * len(ratings))
    rated = Counter(one.item_id for one in ratings[:cut])
    chosen = {item_id for item_id, _ in rated.most_common(count)}
    films = tuple(
        Film(item_id, row["title"], tuple(tag for tag in row["tags"].split("|") if tag))
        for row in _rows(folder / movielens.ITEMS)
        if (item_id := _film_id(row["item"])) in chosen
    )
    people = {row["user"]: (row["age"], row["gender"]) for row in _rows(folder / movielens.USERS)}
    past, future = (tuple(one for one in part if one.item_id in chosen) for part in (ratings[:cut], ratings[cut:]))
    return Films(films, people, past, future)


def _film_id(item: str) -> str:
    return f"film-{item}"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))
