"""Somebody's own labels: read, refused with line numbers, measured."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import InvalidInput
from core.moderation import HARM_CLASSES
from models.moderation.evaluate_labels import given_scores, measure
from models.moderation.evaluate_plots import plot_classes
from models.moderation.labels_file import read_labels


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_labels_in_every_form(tmp_path: Path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    file = write(
        tmp_path / "mine.jsonl",
        {"text": "buy", "label": "spam"},
        "",
        {"text": "fine", "label": "none", "language": "de", "group": "forum"},
        {"text": "both", "labels": ["hate", "violence"]},
        {"image": "a.png", "labels": {"nudity": 0.8, "hate": None}},
    )
    spam, fine, both, picture = read_labels(file)
    assert spam.labels == {**dict.fromkeys(HARM_CLASSES, 0.0), "spam": 1.0}
    assert set(fine.labels.values()) == {0.0} and (fine.language, fine.group, fine.line) == ("de", "forum", 3)
    assert [harm for harm, value in both.labels.items() if value] == ["violence", "hate"]
    assert picture.labels == {"nudity": 0.8} and picture.image == tmp_path / "a.png"


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("not json", "no JSON object"),
        ("[1]", "a list, not a JSON object"),
        ('{"text": "a"', "no JSON object"),
        ({"text": "a"}, "`label` or `labels`"),
        ({"text": "a", "label": "spam", "labels": {"spam": 1}}, "`label` or `labels`"),
        ({"text": "a", "label": "murder"}, "no class 'murder'"),
        ({"text": "a", "labels": {"murder": 1}}, "unknown class 'murder'"),
        ({"text": "a", "labels": {"spam": 2}}, "not a number from 0 to 1"),
        ({"text": "a", "labels": {"spam": "yes"}}, "not a number from 0 to 1"),
        ('{"text": "a", "labels": {"spam": NaN}}', "not a number from 0 to 1"),
        ({"text": "a", "labels": {}}, "labels is empty"),
        ({"text": 7, "label": "spam"}, "text is a number"),
        ({"text": "  ", "label": "spam"}, "neither a text nor an image"),
        ({"image": "gone.png", "label": "spam"}, "there is no image"),
        ({"text": "a", "label": "spam", "lable": 1}, "unknown field 'lable'"),
        ({"text": "a", "label": "spam", "scores": [1]}, "scores is a list"),
        ("[" * 50_000, "no JSON object"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, row: object, complaint: str):
    file = write(tmp_path / "mine.jsonl", {"text": "fine", "label": "none"}, row)
    with pytest.raises(InvalidInput) as raised:
        read_labels(file)
    assert "line 2" in str(raised.value) and complaint in str(raised.value)


def test_many_wrong_lines_are_counted_and_the_first_are_shown(tmp_path: Path):
    file = write(tmp_path / "mine.jsonl", *["x"] * 30)
    with pytest.raises(InvalidInput, match="30 lines cannot be used") as raised:
        read_labels(file)
    assert "line 8" in str(raised.value) and "line 9:" not in str(raised.value) and "22 more" in str(raised.value)


def test_files_that_are_none_are_refused(tmp_path: Path):
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_labels(tmp_path / "missing.jsonl")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_labels(tmp_path)
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    with pytest.raises(InvalidInput, match="UTF-8"):
        read_labels(tmp_path / "binary")
    with pytest.raises(InvalidInput, match="no posts"):
        read_labels(write(tmp_path / "empty.jsonl", "", " "))


def test_scores_for_some_lines_only_are_refused(tmp_path: Path):
    file = write(
        tmp_path / "mine.jsonl",
        {"text": "a", "label": "spam", "scores": {"spam": 0.9}},
        {"text": "b", "label": "none"},
    )
    with pytest.raises(InvalidInput, match="as line 2"):
        read_labels(file)


def scored_file(path: Path, count: int = 200) -> Path:
    generator = np.random.default_rng(0)
    rows = []
    for number in range(count):
        harmful = bool(generator.random() < 0.4)
        rows.append(
            {
                "text": f"text number {number} about {generator.integers(10**9)}",
                "label": "hate" if harmful else "none",
                "language": ["en", "de"][number % 2],
                "group": "few" if number < 5 else "many",
                "scores": {"hate": float(np.clip(0.6 * harmful + 0.4 * generator.random(), 0, 1))},
            }
        )
    return write(path, *rows)


def test_given_scores_are_measured_without_a_model(tmp_path: Path):
    scored = given_scores(read_labels(scored_file(tmp_path / "mine.jsonl")))
    figures = measure(scored)
    hate = figures["classes"]["hate"]
    assert hate["roc"] == 1.0 and hate["roc_interval"] == [1.0, 1.0] and hate["examples"] == 200
    assert figures["unknown"]["spam"] == 200 and figures["unknown"]["hate"] == 0
    assert figures["classes"]["spam"]["roc"] is None
    assert set(figures["languages"]) == {"en", "de"} and set(figures["groups"]) == {"few", "many"}
    assert figures["groups"]["few"]["few"] and not figures["groups"]["many"]["few"]
    assert figures["thresholds"]["hate"]["for_precision"]["0.99"] >= 0.5
    json.dumps(figures, allow_nan=False)


def test_a_picture_a_class_is_written(tmp_path: Path):
    scored = given_scores(read_labels(scored_file(tmp_path / "mine.jsonl")))
    written = plot_classes(scored.scores, scored.targets, tmp_path / "out", others={"other": 1 - scored.scores})
    assert list(written) == ["hate"]  # of the others nothing is known
    with Image.open(written["hate"]) as picture:
        assert picture.width > 1_000 and len(picture.convert("L").getcolors(256) or []) > 20
