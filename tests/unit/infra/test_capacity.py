"""The capacity model: its arithmetic by hand for one part, and what must hold whatever the figures are."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigurationError
from infra.capacity import inputs, model, page
from infra.capacity.inputs import GLOBAL, Load, read_prices, read_unit_costs
from infra.capacity.sensitivity import effects

ROOT = Path(__file__).resolve().parents[3]
COSTS, FIGURES = read_unit_costs()
PRICES = read_prices()
#: What may be asked for; more of any of it cannot need less.
GROWING = [
    *("images", "videos", "frames_per_video", "posts_per_day", "uploads_per_day", "interactions_per_day"),
    *("queries_per_s", "active_users", "image_bytes", "video_bytes", "retention_days", "trace_retention_days"),
    *("archive_days",),
]
loads = st.builds(
    Load,
    images=st.floats(0, 1e12),
    videos=st.floats(0, 1e11),
    posts_per_day=st.floats(0, 1e10),
    uploads_per_day=st.floats(0, 1e10),
    interactions_per_day=st.floats(0, 1e12),
    queries_per_s=st.floats(0, 1e6),
    active_users=st.floats(0, 1e10),
)


def cost(load: Load) -> float:
    return model.plan(load, COSTS).cost_per_month(PRICES)


def test_nothing_costs_nothing_but_for_what_has_to_run() -> None:
    nothing = dataclasses.replace(
        Load(), images=0, uploads_per_day=0, interactions_per_day=0, queries_per_s=0, active_users=0
    )
    assert model.plan(nothing, COSTS).total == model.Resources()


def test_the_log_of_a_small_load_by_hand() -> None:
    costs = dataclasses.replace(
        COSTS, interaction_event_bytes=1000, index_entry_bytes=2000, compression_ratio=1, partition_bytes_per_s=1e6
    )
    load = dataclasses.replace(Load(), images=1e6, uploads_per_day=0, interactions_per_day=864e6, peak_factor=2)
    part = model.log(load, costs)
    # 10,000 a second of 1 kB for 7 days, and a million entries of 2 kB, thrice, on disks that are at most 60 % full
    kept_bytes = 10_000 * 1000 * 86_400 * 7 + 1e6 * 2000
    assert part.resources.ssd_gib == pytest.approx(kept_bytes * 3 / 1024**3 / 0.6)
    # 20 MB/s at the peak through partitions of 1 MB/s; as many as workers if those are more
    assert part.counts["partitions of the busiest topic"] == max(20, -(-20_000 // COSTS.interactions_per_s_per_worker))


@pytest.mark.parametrize("name", GROWING)
@given(load=loads, factor=st.floats(1, 100))
@settings(max_examples=10, deadline=None)
def test_more_of_anything_never_costs_less_within_one_way_of_building_it(name: str, load: Load, factor: float) -> None:
    more = dataclasses.replace(load, **{name: getattr(load, name) * factor})
    before, after = model.plan(load, COSTS), model.plan(more, COSTS)
    for old, new in zip(before.parts, after.parts, strict=True):
        if set(old.counts) == set(new.counts) and ("NVMe" in old.because) == ("NVMe" in new.because):
            assert new.resources.cost_per_month(PRICES) >= old.resources.cost_per_month(PRICES) * (1 - 1e-9), old.name


def test_an_index_that_searches_fill_costs_more_with_every_vector() -> None:
    load = dataclasses.replace(Load(), videos=0, queries_per_s=2e5)
    costs = [
        model.index(dataclasses.replace(load, images=images), COSTS).resources.cost_per_month(PRICES)
        for images in np.linspace(2e11, 2.1e11, 400)
    ]
    assert np.all(np.diff(costs) >= -1e-9 * np.array(costs[:-1]))


@pytest.mark.parametrize("scale", [2.0, 10.0])
def test_twice_the_platform_is_twice_the_machines(scale: float) -> None:
    names = (
        "images",
        "videos",
        "posts_per_day",
        "uploads_per_day",
        "interactions_per_day",
        "queries_per_s",
        "active_users",
    )
    larger = dataclasses.replace(GLOBAL, **{name: getattr(GLOBAL, name) * scale for name in names})
    before, after = model.plan(GLOBAL, COSTS), model.plan(larger, COSTS)
    for old, new in zip(before.parts, after.parts, strict=True):
        if old.name != "vector index":
            ratio = new.resources.cost_per_month(PRICES) / old.resources.cost_per_month(PRICES)
            assert ratio == pytest.approx(scale, rel=0.02), old.name
    # but for the index: twice the searches each ask twice the shards
    old, new = before.part("vector index").resources, after.part("vector index").resources
    assert new.memory_gib >= old.memory_gib * scale * 0.99
    assert new.vcpus == pytest.approx(old.vcpus * scale**2, rel=0.05)


def test_every_unit_cost_and_every_price_matters_somewhere() -> None:
    # Some matter only to small loads, some only to large ones, and one only where partitions are filled by bytes.
    bytes_bound = dataclasses.replace(COSTS, interactions_per_s_per_worker=1e9, uploads_per_s_per_worker=1e9)
    moved = set()
    passing = dataclasses.replace(GLOBAL, images=0, videos=0, retention_days=0.1)  # a log that keeps little
    for load in (GLOBAL, page.SMALL, passing):
        for costs in (COSTS, bytes_bound):
            base = model.plan(load, costs)
            for name in FIGURES:
                changed = model.plan(load, dataclasses.replace(costs, **{name: getattr(costs, name) * 3}))
                if changed != base:
                    moved.add(name)
    assert moved == set(FIGURES)
    assert {effect.name for effect in effects(GLOBAL, COSTS, PRICES) if effect.kind == "price" and effect.share} == {
        field.name for field in dataclasses.fields(PRICES)
    }


def test_the_effects_are_sorted_and_prices_together_double_the_total() -> None:
    found = effects(GLOBAL, COSTS, PRICES)
    assert [abs(one.share) for one in found] == sorted((abs(one.share) for one in found), reverse=True)
    assert sum(one.share for one in found if one.kind == "price") == pytest.approx(1.0)


def test_what_was_measured_names_a_command_that_there_is() -> None:
    from tests.docs.test_pages import commands, problem_of

    for figure in FIGURES.values():
        for words in commands(figure.command):
            if words[0] == "riverlight":
                assert problem_of(words[1:], complete=True) is None, figure.name
            else:
                assert words[:2] == ["python", "-m"], figure.name
                assert (ROOT / f"{words[2].replace('.', '/')}.py").is_file(), figure.name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("vcpu = 1", "lacks gpu"),
        ("vcpu = -1\nmemory_gib = 1\nssd_gib = 1\nobject_gib = 1\ngpu = 1\nnetwork_gib = 1", "from 0 on: vcpu"),
        ("vcpu = 1\nmemory_gib = 1\nssd_gib = 1\nobject_gib = 1\ngpu = 1\nnetwork_gib = 1\ntpu = 1", "unknown tpu"),
        ("vcpu =", "cannot be read"),
    ],
)
def test_prices_that_cannot_be_used_are_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "prices.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=says):
        read_prices(tmp_path / "prices.toml")


def test_a_figure_without_a_source_is_refused(tmp_path: Path) -> None:
    text = inputs.UNIT_COSTS.read_text().replace('source = "measured"', 'source = "somewhere"', 1)
    (tmp_path / "costs.toml").write_text(text)
    with pytest.raises(ConfigurationError, match="upload_event_bytes must be measured"):
        read_unit_costs(tmp_path / "costs.toml")


@pytest.mark.parametrize(
    "wrong", [{"images": -1}, {"peak_factor": 0.5}, {"query_image_share": 1.1}, {"videos": float("nan")}]
)
def test_a_load_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        dataclasses.replace(GLOBAL, **wrong)


def test_the_command_answers_programs_and_takes_other_prices(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(re.sub(r"= ([\d.]+)", lambda found: f"= {float(found[1]) * 2}", inputs.PRICES.read_text()))
    command = [sys.executable, "-c", "from infra.cli.main import main; main()", "plan", "capacity", "--images", "200e9"]
    done = [
        subprocess.run([*command, *more, "-o", "json"], capture_output=True, text=True, check=True, timeout=60)
        for more in ([], ["--prices", str(prices)])
    ]
    once, twice = (json.loads(one.stdout) for one in done)
    assert once["load"]["images"] == 200e9
    assert twice["total"]["usd_per_month"] == pytest.approx(2 * once["total"]["usd_per_month"])
    assert sum(part["usd_per_month"] for part in once["parts"]) == pytest.approx(once["total"]["usd_per_month"])
    assert len(once["sensitivity"]) == 3


@pytest.mark.parametrize("images", [0, 1, 50])
def test_a_handful_of_vectors_fits_one_machine(images: int) -> None:
    tiny = dataclasses.replace(GLOBAL, images=images, videos=0, posts_per_day=0)
    [part] = [part for part in model.plan(tiny, COSTS).parts if part.name == "vector index"]
    assert part.counts["machines"] <= part.counts["replicas"]
