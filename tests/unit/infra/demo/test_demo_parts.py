import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from infra.demo import interactions, visual_search
from infra.demo.contact_sheet import SheetRow, draw_contact_sheet
from infra.demo.images import Pair
from infra.demo.platform import Answer, event
from infra.demo.report import Interactions, Percentiles, Quality, Report, VisualSearch, render
from models.datasets.spec import LabelledImage


def answer(*items: str) -> Answer:
    return Answer(list(items), [0.9] * len(items), "t" * 32, 0.01)


def test_quality_counts_the_rank_of_the_one_right_item():
    answers = [answer("a", "b"), answer("x", "b"), answer(*"uvwxyzklm", "d"), answer("x")]
    quality = visual_search.quality(answers, ["a", "b", "d", "e"])
    assert quality.recall_at_1 == 0.25
    assert quality.recall_at_10 == 0.75
    assert quality.mrr == pytest.approx((1 + 1 / 2 + 1 / 10) / 4, abs=1e-4)
    assert quality.ndcg_at_10 == pytest.approx((1 + 1 / np.log2(3) + 1 / np.log2(11)) / 4, abs=1e-4)


def test_exact_quality_of_vectors_that_match_is_perfect_and_of_others_is_not():
    vectors = np.eye(20, dtype=np.float32)
    assert visual_search.exact_quality(vectors, vectors) == Quality(1.0, 1.0, 1.0, 1.0)
    assert visual_search.exact_quality(vectors, np.roll(vectors, 1, axis=0)).recall_at_1 == 0.0


def test_everybody_sees_every_answer_and_clicks_only_what_is_right():
    audience = interactions.look_at([answer("a", "b"), answer("c")], ["b", "z"], run="r", people=40, seed=1)
    assert audience.impressions == {"a": 40, "b": 40, "c": 40}
    assert set(audience.clicks) == {"b"}
    assert 0 < audience.clicks["b"] < 40
    ids = [one["id"] for one in audience.events]
    assert len(ids) == len(set(ids)) == 120 + audience.clicks["b"]


def test_an_event_of_the_demo_has_the_same_id_for_the_same_cause():
    first, second = (event("upload.deleted", "i", {"item_id": "i"}) for _ in range(2))
    assert first["id"] == second["id"] != event("upload.hidden", "i", {"item_id": "i"})["id"]


@pytest.fixture
def drawing(tmp_path):
    path = tmp_path / "drawing.png"
    Image.new("RGBA", (64, 64), (200, 30, 30, 255)).save(path)
    return LabelledImage(path, "c", "s", "a title", (), "", "test")


def test_a_changed_copy_is_another_image_of_the_same_thing(drawing):
    pair = Pair(drawing, drawing, augmented=True)
    assert pair.query_bytes() != pair.upload_bytes()
    assert pair.query_pixels().shape[2] == 3
    np.testing.assert_array_equal(Pair(drawing, drawing, augmented=False).query_pixels(), pair.item_pixels())


def test_the_contact_sheet_has_a_row_for_each_query(tmp_path, drawing):
    rows = [
        SheetRow("a title that is rather long", drawing.path, [drawing.path] * 3, [0.9, 0.5, 0.1], [True, False, False])
    ]
    one, three = tmp_path / "one.png", tmp_path / "three.png"
    draw_contact_sheet(rows, one, heading="h")
    draw_contact_sheet(rows * 3, three, heading="h")
    with Image.open(one) as small, Image.open(three) as large:
        assert small.width == large.width
        assert large.height - small.height == 2 * (96 + 18 + 20)


def test_the_report_has_the_promised_keys_and_a_readable_form(tmp_path):
    quality = Quality(0.7, 0.9, 0.8, 0.8)
    search = VisualSearch(
        "d", 2, 2, Percentiles(0.1, 0.2), Percentiles(0.1, 0.2), 2, Percentiles(0.1, 0.2), quality, quality
    )
    report = Report(
        broker={"kind": "kafka", "durable": True},
        setup_s=1.0,
        start_s=2.0,
        visual_search=search,
        interactions=Interactions(10, 5.0, True),
        dead_letters=3,
        features={"item_id": "i"},
        metrics_url="m",
        console_url="c",
        contact_sheet="s",
    )
    report.write(tmp_path / "demo" / "report.json")
    data = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert {
        "broker",
        "setup_s",
        "start_s",
        "visual_search",
        "interactions",
        "dead_letters",
        "features",
        "metrics_url",
    } <= set(data)
    assert set(data["visual_search"]) >= {
        "uploaded", "searchable", "freshness_s", "queries", "latency_s",
        "recall_at_1", "recall_at_10", "mrr", "ndcg_at_10", "frozen_baseline",
    }  # fmt: skip
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(render(report))
    assert "every one counted once" in console.export_text()
