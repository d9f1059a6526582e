import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from visual_search_pictures import save_shapes

from core.errors import ConfigurationError, InvalidInput
from models.datasets.spec import LabelledImage
from models.visual_search.evaluate import evaluate_tasks, evaluate_visual_search, ranked_grades
from models.visual_search.judgements import read_judgements
from models.visual_search.report import evaluation_markdown, evaluation_tables, progress_bar
from models.visual_search.tasks import Task, built_in_tasks, concepts_under_test


class ByBrightness:
    """Embeds an image as the sine and cosine of its mean brightness: near grey levels are near points."""

    dim = 2
    version = "brightness/1"

    def encode(self, images):
        angles = np.array([image.mean() / 255 * np.pi / 2 for image in images])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


class AllAlike:
    """Gives every image the same point."""

    dim = 2
    version = "alike/1"

    def encode(self, images):
        return np.tile(np.float32([1, 0]), (len(images), 1))


@pytest.fixture
def greys(tmp_path) -> list[Path]:
    paths = []
    for level in (0, 20, 120, 250):
        path = tmp_path / f"{level}.png"
        Image.new("RGB", (8, 8), (level, level, level)).save(path)
        paths.append(path)
    return paths


def write_csv(folder: Path, *rows: str) -> Path:
    path = folder / "judgements.csv"
    path.write_text("\n".join(["query,candidate,grade", *rows]) + "\n")
    return path


def test_an_encoder_that_orders_rightly_scores_one_and_its_gain_is_over_the_baseline(greys):
    task = Task("greys", "", (greys[0],), tuple(greys[1:]), np.array([[5.0, 1.0, 0.0]]))
    score = evaluate_tasks(ByBrightness(), [task], {"frozen": AllAlike()}).tasks[0]
    values = {system.system: system.values for system in score.systems}
    assert values["model"]["ndcg@10"] == 1.0
    assert values["frozen"]["ndcg@10"] < 1.0
    gain = score.gains["ndcg@10"]
    assert gain.value == pytest.approx(values["model"]["ndcg@10"] - values["frozen"]["ndcg@10"])


def test_equal_scores_earn_nothing():
    ranked = ranked_grades(np.zeros((1, 3), np.float32), np.array([[0.0, 5.0, 1.0]]))
    assert ranked[0].tolist() == [0.0, 1.0, 5.0]


def test_unjudged_candidates_are_left_out_of_the_ranking():
    scores = np.array([[0.1, 0.9, 0.5]], np.float32)
    assert ranked_grades(scores, np.array([[3.0, np.nan, 1.0]]))[0].tolist() == [1.0, 3.0]


def test_judgements_are_read_relative_to_their_file_and_each_query_has_its_own_candidates(greys, tmp_path):
    path = write_csv(tmp_path, "0.png,20.png,5", f"0.png,{greys[3]},0", "250.png,120.png,3.5")
    task = read_judgements(path)
    assert [query.name for query in task.queries] == ["0.png", "250.png"]
    np.testing.assert_array_equal(task.grades, [[5, 0, np.nan], [np.nan, np.nan, 3.5]])


def test_every_wrong_row_is_named_with_its_line(greys, tmp_path):
    path = write_csv(
        tmp_path, "0.png,20.png,6", "0.png,lost.png,3", "0.png,120.png,NaN", ",20.png,1", "0.png,250.png,much",
        "0.png,250.png,1", "0.png,250.png,2",
    )  # fmt: skip
    with pytest.raises(InvalidInput) as error:
        read_judgements(path)
    message = str(error.value)
    assert "6 wrong rows" in message
    for line, what in {
        2: "'6' does not lie", 3: "'lost.png': there is no such image", 4: "'NaN' does not lie", 5: "query is empty",
        6: "'much' is not a number", 8: "judged before",
    }.items():  # fmt: skip
        assert any(part.startswith(f"  line {line}: ") and what in part for part in message.splitlines()), message


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("query,grade\na,1\n", "column candidate is missing"),
        ("query,candidate,grade\n", "no judgements"),
        ("", "missing"),
    ],
)
def test_a_file_that_is_no_judgement_file_is_refused(tmp_path, content, what):
    path = tmp_path / "judgements.csv"
    path.write_text(content)
    with pytest.raises(InvalidInput, match=what):
        read_judgements(path)


def test_a_missing_or_binary_judgement_file_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="no such file"):
        read_judgements(tmp_path / "nothing.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InvalidInput, match="UTF-8"):
        read_judgements(tmp_path / "binary.csv")


def test_own_judgements_are_measured_beside_the_frozen_baseline(greys, tmp_path):
    path = write_csv(tmp_path, "0.png,20.png,5", "0.png,250.png,0", "250.png,120.png,4", "250.png,0.png,0")
    evaluation = evaluate_visual_search(ByBrightness(), tmp_path, judgements=path)
    score = evaluation.tasks[0]
    assert [system.system for system in score.systems] == ["model", "frozen"]
    assert score.systems[0].values["mrr"] == 1.0
    assert json.loads(json.dumps(evaluation.as_dict()))["tasks"][0]["queries"] == 2


def test_without_data_the_error_says_what_to_install(tmp_path):
    with pytest.raises(ConfigurationError, match="riverlight data install emoji"):
        built_in_tasks(tmp_path)


def test_tested_concepts_are_of_the_test_split_alone_and_a_fixed_draw():
    def image(concept: int, split) -> LabelledImage:
        return LabelledImage(Path(f"{concept}"), str(concept), "google", "", (), "", split)

    images = [image(n, "test" if n % 2 else "train") for n in range(1_000)]
    drawn = concepts_under_test(images)
    assert len(drawn) == 400
    assert all(int(concept) % 2 for concept in drawn)
    assert drawn == concepts_under_test(list(reversed(images)))


def test_tables_show_every_system_and_the_gain(greys, tmp_path):
    images = save_shapes(tmp_path, range(3), "test")
    filled = tuple(image.path for image in images if image.style == "filled")
    outline = tuple(image.path for image in images if image.style == "outline")
    evaluation = evaluate_tasks(
        ByBrightness(), [Task("shapes", "find it", filled, outline, np.eye(3))], {"frozen": AllAlike()}
    )
    out = StringIO()
    Console(file=out, width=200).print(*evaluation_tables(evaluation))
    for word in ("shapes: find it", "model", "frozen", "gain", "recall@1", "3 queries"):
        assert word in out.getvalue()
    markdown = evaluation_markdown(evaluation)
    assert "| model | " in markdown
    assert "| model − frozen | " in markdown


def test_the_progress_bar_shows_the_stage():
    out = StringIO()
    with progress_bar(Console(file=out, force_terminal=True, width=100)) as report:
        report("embedding", 1, 2)
        report("embedding", 2, 2)
    assert "embedding" in out.getvalue()
