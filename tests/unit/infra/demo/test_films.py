"""The demo's recommendations: a small data set played over HTTP against a gateway whose broker is in memory."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from infra.demo import film_model, homepage
from infra.demo.films import Films, load_films, read_films
from infra.demo.platform import Platform
from infra.demo.report import Rung
from models.recommendation.content import ContentBased, ContentConfig
from models.recommendation.item_weights import Ease, EaseConfig, Transitions
from models.recommendation.popularity import Popularity
from models.recommendation.ranker import RankerConfig
from models.recommendation.system import FullSystem, SystemConfig
from models.recommendation.towers import TowerConfig
from models.recommendation.two_tower import TwoTower
from models.registry.packaged import open_registry
from tests.live_gateway import live_gateway

FILMS, PEOPLE, LATE = 40, 40, 6


@pytest.fixture
def folder(tmp_path):
    """Even people like even films; the last six come when four fifths of the ratings are there."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    ratings = []
    for person in range(PEOPLE):
        start = 1e9 + person * 1000
        liked = rng.permutation(np.arange(person % 2, FILMS, 2))[:13]
        ratings += [(person, film, 5, start + 20 * place) for place, film in enumerate(liked)]
        ratings += [
            (person, film, 1, start + 5 + place) for place, film in enumerate([(person + 1) % 2, 2 + (person + 1) % 2])
        ]
        ratings.append((person, 4 + (person + 1) % 2, 3, start + 9))
    tables = {
        "interactions": (("user", "item", "value", "timestamp"), ratings),
        "items": (
            ("item", "title", "year", "tags"),
            [(film, f"Film {film}", 1990, "Calm|Even" if film % 2 == 0 else "Loud|Odd") for film in range(FILMS)],
        ),
        "users": (
            ("user", "age", "gender", "occupation"),
            [(person, 20 + person, "FM"[person % 2], "other") for person in range(PEOPLE)],
        ),
    }
    for name, (columns, rows) in tables.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(rows)
    return folder


@pytest.fixture
def films(folder) -> Films:
    return read_films(folder, FILMS)


def small_system(config: SystemConfig) -> FullSystem:
    config = replace(config, each=10, ranker=RankerConfig(hidden=16, attention=8, epochs=4))
    towers = TwoTower(TowerConfig(dim=8, epochs=2, length=6))
    return FullSystem(
        config, [towers, Ease(EaseConfig(l2=5)), Transitions(), ContentBased(ContentConfig(dim=4)), Popularity()]
    )


def test_the_ratings_are_cut_in_two_by_time(films):
    assert (len(films.films), len(films.past) + len(films.future)) == (FILMS, PEOPLE * 16)
    assert len(films.past) / (PEOPLE * 16) == pytest.approx(0.8, abs=0.01)
    assert max(one.time_s for one in films.past) <= min(one.time_s for one in films.future)
    assert films.films[3].title == "Film 3" and films.films[3].tags == ("Loud", "Odd")
    feedback = films.feedback()
    assert set(feedback.items) == {film.item_id for film in films.films}
    assert feedback.user_features().shape[1] > 0
    assert (feedback.label > 0).sum() == sum(one.stars >= 4 for one in films.past)


def test_only_the_films_rated_most_in_the_past_are_played(folder):
    few = read_films(folder, 10)
    assert len(few.films) == 10
    assert {one.item_id for one in (*few.past, *few.future)} == {film.item_id for film in few.films}


def test_where_the_data_cannot_be_had_it_is_said(tmp_path, monkeypatch):
    from core.errors import Unavailable

    def fail(*args):
        raise Unavailable("no network")

    monkeypatch.setattr("infra.demo.films.install", fail)
    said = []
    assert load_films(tmp_path, 10, said.append) is None
    assert "nothing is recommended: no network" in said[-1]


def test_an_answer_is_judged_by_what_was_liked_later():
    wanted = [frozenset("ab"), frozenset("c")]
    assert homepage.judged([["a", "b"], ["c"]], wanted) == Rung(1.0, 1.0, 1.0)
    found = homepage.judged([["x", "a"], ["x", "y"]], wanted)
    gain = 1 / np.log2(3) / (1 + 1 / np.log2(3)) / 2
    assert found == Rung(pytest.approx(gain, abs=1e-4), 0.5, pytest.approx(1 / 2 / 2 / 2))


def test_another_champion_is_left_alone(tmp_path, films, monkeypatch):
    monkeypatch.setattr(film_model, "quick_system", small_system)
    said = []
    _, version = film_model.served_model(tmp_path, films, said.append)
    _, same = film_model.served_model(tmp_path, films, said.append)
    assert same.label == version.label and len(said) == 1  # it is fitted once
    learned = replace(version.manifest, command="riverlight learn", data={"base": version.manifest.data})
    learned.write(version.folder)
    _, learning = film_model.served_model(tmp_path, films, said.append)
    assert learning.manifest.command == "riverlight learn" and len(said) == 1  # what learned from it goes on
    replace(learned, data={"dataset": "ours"}).write(version.folder)
    assert film_model.served_model(tmp_path, films, said.append) is None
    assert "stays champion" in said[-1]


async def test_the_past_is_told_the_future_replayed_and_the_live_answers_learn(tmp_path, films, monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(film_model, "quick_system", small_system)
    system, version = film_model.served_model(tmp_path, films, lambda line: None)
    with live_gateway(tmp_path, registry=open_registry(tmp_path)) as gateway:
        platform = Platform(gateway.url)
        try:
            media = [await platform.upload_media(f"{place}.png", _picture(place)) for place in range(FILMS + 3)]
            done = []
            found = await homepage.play(
                platform,
                films,
                system,
                media,
                label=version.label,
                run="test",
                people=LATE,
                past=400,
                advance=done.append,
            )
        finally:
            await platform.close()
    torch.set_num_threads(before)
    assert (found.users, found.videos, found.model) == (LATE, FILMS + 3, version.label)
    assert found.questions >= 3 * LATE
    assert set(found.ladder) == {"popularity", "item-knn", "wals-32", "quick-system", "frozen", "live"}
    assert found.ladder["live"].ndcg_at_10 > found.ladder["frozen"].ndcg_at_10
    assert found.learning_gain == pytest.approx(
        found.ladder["live"].hr_at_10 - found.ladder["frozen"].hr_at_10, abs=1e-4
    )
    assert 0 < found.latency_s.p50 <= found.latency_s.p99
    assert 0 < found.click_to_feature_s.p50 < 5
    assert done == [LATE]


def _picture(place: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 16), (5 * place, 255 - 5 * place, 100)).save(out, "PNG")
    return out.getvalue()
