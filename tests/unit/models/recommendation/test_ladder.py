import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tastes import two_tastes
from typer.testing import CliRunner

from core.errors import IntegrityError, InvalidInput, NotFound
from infra.cli.main import app
from models.datasets import movielens
from models.recommendation.evaluate import measure, paired_difference
from models.recommendation.ladder import climb
from models.recommendation.popularity import Popularity, PopularityConfig
from models.recommendation.report import plot_ladder
from models.recommendation.search import search
from models.recommendation.splits import leave_last_out
from models.recommendation.system import QUICK as QUICK_SYSTEM
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


def test_optuna_tries_as_many_settings_as_asked_and_none_twice():
    validation = leave_last_out(two_tastes(), back=1)
    entry, said = find_entry("transitions"), []
    _, trials = search(entry, validation, method="optuna", trials=15, report=lambda *what: said.append(what))
    assert len({tuple(sorted(trial.changes.items())) for trial in trials}) == len(trials) == 15
    assert said == [("searching transitions", done, 15) for done in range(16)]
    _, all_there_are = search(find_entry("ease"), validation, method="optuna", trials=50)
    assert len(all_there_are) == 5


def test_a_search_without_trials_is_refused():
    with pytest.raises(InvalidInput, match="at least one trial"):
        search(find_entry("ease"), leave_last_out(two_tastes(), back=1), method="optuna", trials=0)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"dim": "wide"}, "dim: .* integer"),
        ({"history": "none"}, "history: .*'mean' or 'attention'"),
        ({"dimm": 3}, "has no setting dimm; it has batch_users, dim"),
        ({"dim": 15}, "multiple of heads"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(changes, why):
    with pytest.raises(InvalidInput, match=why):
        find_entry("two-tower").build(changes)


def test_settings_of_a_part_are_changed_one_by_one():
    built = find_entry("quick-system").build({"ranker": {"hidden": 32}}).config
    assert built.ranker == replace(QUICK_SYSTEM.ranker, hidden=32)
    with pytest.raises(InvalidInput, match="quick-system's ranker has no setting hiden"):
        find_entry("quick-system").build({"ranker": {"hiden": 32}})


def test_given_settings_are_kept_by_a_search_of_the_others():
    entry = find_entry("ease-recent").with_settings({"decay": 7.0})
    _, trials = search(entry, leave_last_out(two_tastes(), back=1))
    assert [set(trial.changes) for trial in trials] == [{"l2"}] * 4
    assert entry.build(trials[0].changes).config.decay == 7.0


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


def train(tmp_path, monkeypatch, *arguments):
    monkeypatch.setenv("RIVERLIGHT_HOME", str(tmp_path / "home"))
    data = str(ratings(tmp_path / "mine.csv"))
    return CliRunner().invoke(app, ["train", "recommendation", "--interactions", data, *arguments])


def test_a_search_shows_what_it_tried_and_writes_down_how(tmp_path, monkeypatch):
    done = train(tmp_path, monkeypatch, "--model", "ease", "--search", "optuna", "--trials", "2", "-o", "json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    best = max(report["trials"], key=lambda trial: trial["validation_ndcg@10"])
    assert len(report["trials"]) == 2
    assert report["metrics"]["search"]["chosen"] == best["settings"]
    manifest = json.loads((Path(report["folder"]) / "manifest.json").read_text())
    assert manifest["settings"]["l2"] == best["settings"]["l2"]
    assert manifest["command"].endswith("--model ease --search optuna --trials 2")
    text = train(tmp_path, monkeypatch, "--model", "ease", "--search", "grid").stdout
    assert "5 settings tried" in text and "best first" in text and "400.0" in text


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--model", "ease", "--search", "grid", "--trials", "3"], "--trials is for --search optuna"),
        (["--model", "ease", "--search", "optuna", "--trials", "0"], "greater than or equal to 1"),
        (["--model", "ease", "--search", "grid", "--set", "l2=9"], "no settings left to search"),
        (["--model", "popularity", "--search", "grid"], "no settings left to search"),
        (["--model", "ease", "--set", "l3=9"], "has no setting l3"),
        (["--model", "ease", "--workers", "2"], "nothing to do for workers"),
        (["--checkpoints", "somewhere"], "for training on Ray; say --workers"),
        (["--ray", "ray://head:10001"], "ray job submit"),
        (["--workers", "2", "--gpus-per-worker", "0.5"], "share a GPU"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_trained(tmp_path, monkeypatch, arguments, why):
    done = train(tmp_path, monkeypatch, *arguments)
    assert done.exit_code == 2
    assert why in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "home" / "registry").exists()


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
