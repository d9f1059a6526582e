import json

import numpy as np
import pytest
from tastes import two_tastes
from typer.testing import CliRunner

from core.errors import IntegrityError, NotFound
from infra.cli.main import app
from models.datasets import movielens
from models.recommendation.evaluate import measure, paired_difference
from models.recommendation.ladder import climb
from models.recommendation.popularity import Popularity, PopularityConfig
from models.recommendation.report import plot_ladder
from models.recommendation.search import search
from models.recommendation.splits import leave_last_out
from models.recommendation.zoo import LADDER, Entry, find_entry

QUICK = ("popularity", "item-knn", "ease", "wals-32")


def test_a_perfect_and_a_hopeless_model_get_the_best_and_the_worst_figures():
    split = leave_last_out(two_tastes())
    perfect = split.relevant.toarray().astype(np.float32)
    best, worst = measure(perfect, split).values, measure(-perfect, split).values
    assert best["hr@10"] == best["ndcg@10"] == best["mrr"] == best["map@10"] == 1.0
    assert worst["hr@10"] == worst["ndcg@10"] == 0.0


def test_one_score_for_all_items_gains_nothing():
    split = leave_last_out(two_tastes())
    assert measure(np.zeros(split.relevant.shape, np.float32), split).values["hr@20"] == 0.0


def test_what_was_seen_is_never_ranked_and_nan_is_last():
    split = leave_last_out(two_tastes())
    scores = split.relevant.toarray() * 1.0 + split.seen.toarray() * 9.0
    scores[0] = np.nan
    assert measure(scores.astype(np.float32), split).values["hr@10"] == pytest.approx(1 - 1 / len(split), abs=0.02)


def test_a_paired_difference_with_itself_is_nothing():
    split = leave_last_out(two_tastes())
    one = measure(np.random.default_rng(0).random(split.relevant.shape).astype(np.float32), split)
    assert paired_difference(one, one, "ndcg@10") == (0.0, 0.0, 0.0)


def test_the_ladder_measures_every_model_on_the_same_users(tmp_path):
    ladder = climb(two_tastes(), names=QUICK)
    assert [rung.name for rung in ladder.rungs] == [name for name in LADDER if name in QUICK]
    assert ladder.reference == "wals-32"
    assert ladder.rung("ease").values["hr@10"] > ladder.rung("popularity").values["hr@10"]
    assert {score.group for score in ladder.rung("ease").groups["taste"]} == {"even", "odd"}
    plain = ladder.as_dict()
    assert set(plain["models"]) == set(QUICK)
    assert plot_ladder(ladder, tmp_path / "plots" / "ladder.png").read_bytes()[:4] == b"\x89PNG"


def test_the_temporal_ladder_runs_too():
    assert climb(two_tastes(), names=("popularity", "ease"), protocol="temporal").users > 0


def test_an_unknown_model_says_which_there_are():
    with pytest.raises(NotFound, match="popularity, trending"):
        climb(two_tastes(), names=("svd",))


def test_every_entry_of_the_ladder_builds_with_every_setting_of_its_space():
    for entry in LADDER.values():
        for name, values in entry.space.items():
            for value in values:
                assert getattr(entry.build({name: value}).config, name) == value


@pytest.mark.parametrize("method", ["grid", "optuna"])
def test_a_search_returns_the_best_of_what_it_tried(method):
    validation = leave_last_out(two_tastes(), back=1)
    changes, trials = search(find_entry("ease"), validation, method=method, trials=5)
    assert changes in [trial.changes for trial in trials]
    assert max(trial.value for trial in trials) == next(trial.value for trial in trials if trial.changes == changes)


def test_a_search_never_fits_on_what_the_test_holds_out():
    feedback = two_tastes()
    test = leave_last_out(feedback)
    fitted_on = []

    class Spy(Popularity):
        def fit(self, feedback, report=lambda *_: None):
            fitted_on.append(feedback)
            super().fit(feedback)

    search(Entry("spy", "", Spy, PopularityConfig(), {"half_life_days": (1.0, 2.0)}), leave_last_out(feedback, back=1))
    held = set(zip(*test.relevant.nonzero(), strict=True))
    for seen in fitted_on:
        liked = seen.positives()
        rows = {user: row for row, user in enumerate(test.users.place)}
        assert not held & {
            (rows[user], item) for user, item in zip(liked.user, liked.item, strict=True) if user in rows
        }
    assert len(fitted_on) == 2


def ratings(path, rows=400):
    rng = np.random.default_rng(0)
    lines = {
        (f"u{user}", f"i{item}")
        for user, item in zip(rng.integers(0, 25, rows), rng.integers(0, 30, rows), strict=True)
    }
    text = "".join(
        f"{user},{item},{rng.integers(1, 6)},{number}\n" for number, (user, item) in enumerate(sorted(lines))
    )
    path.write_text("user,item,value,timestamp\n" + text)
    return path


def test_the_command_runs_the_ladder_on_anybodys_data(tmp_path, monkeypatch):
    monkeypatch.setenv("RIVERLIGHT_HOME", str(tmp_path / "home"))
    arguments = [
        "evaluate",
        "recommendation",
        "--interactions",
        str(ratings(tmp_path / "mine.csv")),
        "--output",
        "json",
    ]
    done = CliRunner().invoke(app, [*arguments, "--models", "popularity", "--models", "item-knn"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert set(report["models"]) == {"popularity", "item-knn"}
    assert {"hr@10", "ndcg@10", "map@10"} <= set(report["models"]["popularity"]["values"])
    assert (tmp_path / "home" / "evaluate" / "recommendation" / "leave-last-out.png").is_file()


def test_the_command_says_what_is_wrong_with_the_data(tmp_path, monkeypatch):
    monkeypatch.setenv("RIVERLIGHT_HOME", str(tmp_path))
    (tmp_path / "bad.csv").write_text("user,item,value,timestamp\na,x,five,1\n")
    done = CliRunner().invoke(app, ["evaluate", "recommendation", "--interactions", str(tmp_path / "bad.csv")])
    assert done.exit_code == 2
    assert "row 2: value is not a finite number" in done.stderr


def test_a_trained_model_is_registered_with_what_was_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("RIVERLIGHT_HOME", str(tmp_path / "home"))
    data = str(ratings(tmp_path / "mine.csv"))
    arguments = [
        "train",
        "recommendation",
        "--model",
        "ease",
        "--set",
        "l2=50",
        "--interactions",
        data,
        "--promote",
        "-o",
        "json",
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["model"] == "recommendation-ease"
    shown = CliRunner().invoke(app, ["models", "list", "recommendation-ease", "-o", "json"])
    assert report["version"] in shown.stdout and "champion" in shown.stdout


def test_a_model_that_cannot_serve_is_not_trained_for_serving(tmp_path, monkeypatch):
    monkeypatch.setenv("RIVERLIGHT_HOME", str(tmp_path / "home"))
    done = CliRunner().invoke(
        app, ["train", "recommendation", "--model", "bpr", "--interactions", str(ratings(tmp_path / "a.csv"))]
    )
    assert done.exit_code == 2 and "two-tower" in done.stderr


def movielens_tables(folder):
    (folder / "ml-100k.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t7\t4\t880000000\n"
    )
    (folder / "ml-100k.item").write_text(
        'item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n7\tTwo, "Three\tV\tDrama War\n'
    )
    (folder / "ml-100k.user").write_text(
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n1\t24\tM\tnone\t0\n"
    )


def test_movielens_becomes_the_three_files(tmp_path):
    movielens_tables(tmp_path)
    movielens.convert(tmp_path, tmp_path)
    assert (tmp_path / "interactions.csv").read_text().splitlines() == ["user,item,value,timestamp", "1,7,4,880000000"]
    assert (tmp_path / "items.csv").read_text().splitlines()[1] == '7,"Two, ""Three",V,Drama|War'
    assert "zip" not in (tmp_path / "users.csv").read_text()


def test_another_package_than_the_known_one_is_refused(tmp_path):
    movielens_tables(tmp_path)
    (tmp_path / "ml-100k.user").write_text("user\n1\n")
    with pytest.raises(IntegrityError, match=r"ml-100k\.user"):
        movielens.convert(tmp_path, tmp_path)
