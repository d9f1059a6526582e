"""A window slides, and a system without a reference of training makes one of what it sees first."""

import threading
from datetime import UTC, datetime

import numpy as np
import pytest

from core.errors import Conflict, IntegrityError
from models.drift.monitor import DriftMonitor, Limits
from models.drift.reference import Reference, Rows, reference_of
from models.drift.window import Window
from models.registry.manifest import DRIFT


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.s = 1_000.0

    def monotonic(self) -> float:
        return self.s

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.s, UTC)


@pytest.fixture
def clock() -> Hands:
    return Hands()


GENERATOR = np.random.default_rng(0)


def rows(count: int, *, moved: float = 0.0, image: bool = True) -> Rows:
    return Rows(
        numbers={"length": GENERATOR.normal(size=count) + moved, "posts": GENERATOR.normal(size=count)},
        categories={"language": ["en"] * count},
        vectors={
            "text": GENERATOR.normal(size=(count, 4)) + moved,
            "image": np.full((count, 3), 1.0 if image else np.nan),
        },
        scores={"spam": GENERATOR.random(count)},
    )


def verdicts(monitor: DriftMonitor) -> dict[str, str]:
    return {f"{one.kind} {one.name}": one.verdict for one in monitor.report().features}


def test_a_window_forgets_what_is_older_than_its_span(clock):
    window = Window(2, 60.0, clock, buckets=6)
    window.add(np.array([1.0, 0.0]))
    clock.s += 30
    window.add(np.array([0.0, 5.0]))
    assert window.total().tolist() == [1.0, 5.0]
    clock.s += 25
    assert window.total().tolist() == [1.0, 5.0]
    clock.s += 15
    assert window.total().tolist() == [0.0, 5.0]
    clock.s += 3_600
    assert window.total().tolist() == [0.0, 0.0]


def test_a_change_is_seen_within_the_rows_of_a_third_of_the_window_and_forgotten_with_it(clock):
    reference = reference_of(rows(5_000), system="test", source="5,000 rows")
    monitor = DriftMonitor("test", "v1", reference, clock, Limits(window_s=3600))
    for _ in range(12):
        monitor.observe(rows(100))
        clock.s += 300
    assert set(verdicts(monitor).values()) == {"same"}
    seen_after = 0
    while verdicts(monitor)["input length"] != "drift":
        monitor.observe(rows(20, moved=2.0))
        seen_after += 20
        clock.s += 60
    assert seen_after <= 400, seen_after
    assert verdicts(monitor)["score spam"] == "same"
    clock.s += 4_000
    monitor.observe(rows(400))
    assert set(verdicts(monitor).values()) == {"same"}


def test_what_training_gave_no_reference_for_is_compared_with_the_first_rows(clock, tmp_path):
    reference = reference_of(Rows(numbers={"length": GENERATOR.normal(size=5_000)}), system="test", source="training")
    monitor = DriftMonitor("test", "v1", reference, clock, Limits(first=1_000), keep=tmp_path)
    monitor.observe(rows(999))
    report = monitor.report()
    assert (report.learning, [one.name for one in report.features]) == (999, ["length"])
    monitor.observe(rows(1))
    monitor.observe(rows(400))
    report = monitor.report()
    assert (report.learning, report.rows) == (None, 400)
    assert {one.name: one.source for one in report.features} == {
        "length": "training",
        "posts": "the first 1,000 live rows",
        "language": "the first 1,000 live rows",
        "text": "the first 1,000 live rows",
        "image": "the first 1,000 live rows",
        "spam": "the first 1,000 live rows",
    }
    assert (tmp_path / DRIFT).is_file()
    again = DriftMonitor("test", "v1", reference, clock, Limits(first=1_000), keep=tmp_path)
    assert again.report().learning is None and len(again.report().features) == 6


def test_a_second_replica_takes_the_first_rows_of_the_first(clock, tmp_path):
    monitors = [DriftMonitor("test", "v1", None, clock, Limits(first=500), keep=tmp_path) for _ in range(2)]
    monitors[0].observe(rows(500))
    monitors[1].observe(rows(500, moved=3.0))
    for monitor in monitors:
        monitor.observe(rows(400, moved=3.0))
    assert [verdicts(monitor)["input length"] for monitor in monitors] == ["drift", "drift"]
    assert [path.name for path in tmp_path.iterdir()] == [DRIFT]


def test_vectors_that_the_first_rows_lack_are_not_watched_and_other_columns_are(clock):
    monitor = DriftMonitor("test", "v1", None, clock, Limits(first=300))
    monitor.observe(rows(300, image=False))
    assert set(verdicts(monitor)) == {
        "input length",
        "input posts",
        "input language",
        "embedding text",
        "score spam",
    }


def test_a_kept_reference_that_is_damaged_is_said_to_be(clock, tmp_path):
    (tmp_path / DRIFT).write_bytes(b"x" * 50)
    with pytest.raises(IntegrityError):
        DriftMonitor("test", "v1", None, clock, keep=tmp_path)


def test_no_rows_change_nothing(clock):
    monitor = DriftMonitor("test", "v1", None, clock, Limits(first=10))
    monitor.observe(Rows())
    assert (monitor.report().learning, monitor.report().rows, monitor.report().features) == (0, 0, ())


def test_a_report_does_not_wait_for_a_reference_that_is_being_made(clock, monkeypatch):
    begun, finish = threading.Event(), threading.Event()

    def slowly(*arguments: object, **more: object) -> Reference:
        begun.set()
        assert finish.wait(10)
        return reference_of(*arguments, **more)

    monkeypatch.setattr("models.drift.monitor.reference_of", slowly)
    monitor = DriftMonitor("test", "v1", None, clock, Limits(first=300))
    maker = threading.Thread(target=monitor.observe, args=(rows(300),))
    maker.start()
    assert begun.wait(10)
    monitor.observe(rows(50))
    assert (monitor.report().learning, monitor.report().rows) == (300, 350)
    finish.set()
    maker.join(10)
    monitor.observe(rows(50))
    assert (monitor.report().learning, monitor.report().rows, len(monitor.report().features)) == (None, 50, 6)


def test_a_reference_that_cannot_be_kept_is_compared_with_all_the_same(clock, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monitor = DriftMonitor("test", "v1", None, clock, Limits(first=300), keep=tmp_path / "file/folder")
    with pytest.raises(OSError):
        monitor.observe(rows(300))
    assert (monitor.report().learning, len(monitor.report().features)) == (None, 6)


def test_a_window_that_is_accepted_is_the_reference_of_all_replicas_and_after_a_restart(clock, tmp_path):
    trained = reference_of(rows(5_000), system="test", source="training")
    one, other = (DriftMonitor("test", "v1", trained, clock, Limits(first=500), keep=tmp_path) for _ in range(2))
    for monitor in (one, other):
        monitor.observe(rows(500))
        monitor.observe(rows(1_200, moved=3.0))
    assert verdicts(one)["input length"] == verdicts(one)["embedding text"] == "drift"
    before = one.accept()
    assert next(found for found in before.features if found.name == "length").verdict == "drift"
    started = DriftMonitor("test", "v1", trained, clock, Limits(first=500), keep=tmp_path)
    for monitor in (one, other, started):
        monitor.observe(rows(600, moved=3.0))
        assert {name: said for name, said in verdicts(monitor).items() if said == "drift"} == {}
        assert {found.source for found in monitor.report().features} == {"1,200 rows accepted on 1970-01-01"}
        monitor.observe(rows(600))
        assert verdicts(monitor)["input length"] == verdicts(monitor)["embedding text"] == "drift"


def test_a_window_with_few_rows_is_not_accepted(clock):
    monitor = DriftMonitor("test", "v1", None, clock, Limits(first=500))
    monitor.observe(rows(499))
    with pytest.raises(Conflict, match="499 of the first 500"):
        monitor.accept()
    monitor.observe(rows(1))
    monitor.observe(rows(999))
    with pytest.raises(Conflict, match="999 rows are in the window; 1000"):
        monitor.accept()
    assert monitor.report().rows == 999
