"""The moderator watches what it is asked and answers; what goes wrong with watching costs no post its scores."""

import asyncio
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from core.clock import SystemClock
from core.errors import IntegrityError, Unavailable
from core.moderation import HARM_CLASSES, PostScores, PostToScore
from models.drift.compare import KS_DRIFT, PSI_DRIFT, SHIFT_DRIFT
from models.drift.monitor import Limits
from models.drift.reference import Reference, Rows, reference_of
from models.moderation.drift import WatchedPost, rows_of
from models.moderation.features import PostFeatures
from models.moderation.wording import ProfaneWords
from monitoring import alerts
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from serving.moderation.drift import PostDrift, references_in
from serving.moderation.media import NoMedia
from serving.moderation.scorer import PostScorer
from serving.moderation.texts import TextVectors
from tests.fakes.text_encoder import FakeTextEncoder
from tests.unit.serving.moderation.test_scorer import WordModel

GENERATOR = np.random.default_rng(0)
TEXT_DIM, IMAGE_DIM = 8, 4
MODEL = SimpleNamespace(version="moderation/one", scaling=SimpleNamespace(text_dim=TEXT_DIM, image_dim=IMAGE_DIM))


def posts(count: int, *, language: str = "en", about: float = 0.0) -> list[WatchedPost]:
    found = []
    for _ in range(count):
        vector = (GENERATOR.normal(size=TEXT_DIM) + about).astype(np.float32)
        features = PostFeatures(text="x" * int(GENERATOR.integers(20, 90)), text_vector=vector, language=language)
        scores = dict.fromkeys(HARM_CLASSES, round(float(GENERATOR.beta(1 + about, 8)), 6))
        found.append(WatchedPost(features, scores, len(features.text)))
    return found


def training() -> Reference:
    rows = rows_of(posts(3_000), text_dim=TEXT_DIM, image_dim=IMAGE_DIM)
    return reference_of(
        Rows(
            {"text_length": rows.numbers["text_length"]},
            {"language": rows.categories["language"]},
            {"text": rows.vectors["text"]},
            rows.scores,
        ),
        system="moderation",
        source="3,000 training texts",
    )


class Hands(SystemClock):
    s = 0.0

    def monotonic(self) -> float:
        return self.s


def counted(drift: PostDrift) -> PostDrift:
    drift._worker.submit(int).result(timeout=30)  # its turn comes after all that was put aside before
    return drift


def watch(recorder: Recorder, find=lambda label: training(), **more) -> PostDrift:
    return PostDrift(find, recorder, Hands(), Limits(first=500), **more)


def later(drift: PostDrift) -> PostDrift:
    counted(drift)
    drift._clock.s += 10.0  # what was reported is old by now
    return drift


def test_posts_like_those_of_training_do_not_drift_and_others_do():
    recorder = Recorder()
    drift = watch(recorder)
    for _ in range(10):
        drift.observe(MODEL, posts(64))
    report = later(drift).status().report
    assert report is not None and report.rows == 10 * 64 - 512  # the window begins anew with the first reference
    for _ in range(8):
        drift.observe(MODEL, posts(64))
    later(drift)
    language = {"system": "moderation", "kind": "input", "feature": "language"}
    assert recorder.value(metrics.DRIFT_PSI, **language) < 0.05
    assert recorder.value(metrics.DRIFT_FEATURES, system="moderation", verdict="drift") == 0
    for _ in range(8):
        drift.observe(MODEL, posts(64, language="es", about=2.5))
    later(drift)
    assert recorder.value(metrics.DRIFT_PSI, **language) > alerts.PSI_AT_MOST
    text = {"system": "moderation", "kind": "embedding", "feature": "text"}
    assert recorder.value(metrics.DRIFT_SHIFT, **text) > alerts.SHIFT_AT_MOST
    spam = {"system": "moderation", "kind": "score", "feature": "spam"}
    assert recorder.value(metrics.DRIFT_PSI, **spam) > alerts.PSI_AT_MOST
    found = {(one.kind, one.name): one for one in drift.status().report.features}
    assert found["input", "language"].moved.startswith(("en 100.0%", "others 0.0%"))
    assert found["input", "language"].source == "3,000 training texts"
    assert found["input", "links"].source == "the first 512 live rows"
    assert found["input", "links"].verdict == "same"


def test_alerts_have_the_limits_of_the_verdicts():
    assert (alerts.PSI_AT_MOST, alerts.KS_AT_MOST, alerts.SHIFT_AT_MOST) == (PSI_DRIFT, KS_DRIFT, SHIFT_DRIFT)


def test_before_enough_posts_are_there_gauges_say_nothing():
    recorder = Recorder()
    drift = watch(recorder)
    drift.observe(MODEL, posts(64))
    later(drift)
    assert np.isnan(recorder.value(metrics.DRIFT_PSI, system="moderation", kind="input", feature="language"))
    assert recorder.value(metrics.DRIFT_FIRST_ROWS, system="moderation") == 64


def test_another_model_begins_anew_with_its_own_reference(tmp_path):
    asked = []

    def find(label: str) -> Reference | None:
        asked.append(label)
        return None

    drift = watch(Recorder(), find, keep=tmp_path)
    for _ in range(8):
        drift.observe(MODEL, posts(64))
    drift.observe(SimpleNamespace(version="moderation/two", scaling=MODEL.scaling), posts(64))
    report = later(drift).status().report
    assert asked == ["moderation/one", "moderation/two"]
    assert report is not None and (report.version, report.rows, report.learning) == ("moderation/two", 64, 64)
    assert [path.name for path in tmp_path.iterdir()] == ["moderation-one"]


def test_what_is_accepted_is_the_reference_from_the_next_report_on(tmp_path):
    drift = watch(Recorder(), keep=tmp_path)
    with pytest.raises(Unavailable, match="nothing to accept"):
        drift.accept()
    for _ in range(8):
        drift.observe(MODEL, posts(64))
    for _ in range(16):
        drift.observe(MODEL, posts(64, language="es", about=2.5))
    before = later(drift).status().report
    assert before is not None and any(one.verdict == "drift" for one in before.features)
    accepted = drift.accept().report
    assert accepted is not None and accepted.rows == 1_024
    for _ in range(6):
        drift.observe(MODEL, posts(64, language="es", about=2.5))
    after = later(drift).status().report
    assert after is not None and {one.verdict for one in after.features} == {"same"}


def test_a_damaged_reference_is_told_and_the_first_posts_take_its_place():
    def find(label: str) -> Reference | None:
        raise IntegrityError("the file is damaged")

    drift = watch(Recorder(), find)
    for _ in range(9):
        drift.observe(MODEL, posts(64))
    status = later(drift).status()
    assert status.problem == "the file is damaged"
    assert status.report is not None and {one.source for one in status.report.features} == {"the first 512 live rows"}


def test_the_reference_is_found_beside_the_weights_of_the_registry(tmp_path):
    training().save(tmp_path, made_for="f00d")
    version = SimpleNamespace(folder=tmp_path, manifest=SimpleNamespace(sha256="f00d"))
    registry = SimpleNamespace(show=lambda model, version_: version)
    found = references_in(registry)("moderation/f00d")
    assert found is not None and found.features[0].source == "3,000 training texts"


@pytest.fixture
def scorer():
    recorder = Recorder()
    model = WordModel()
    models = SimpleNamespace(champion=model, challenger=None, close=lambda: None)
    encoder = FakeTextEncoder()
    model.scaling = SimpleNamespace(text_dim=encoder.dim, image_dim=4)
    drift = watch(recorder, lambda label: None)
    texts = TextVectors(encoder, recorder)
    yield PostScorer(models, texts, NoMedia(), ProfaneWords(), recorder, drift)
    texts.close()


def asked(count: int) -> list[PostToScore]:
    return [
        PostToScore(post_id=f"p{number}", text=f"Some words {number}", posted_at=datetime(2026, 11, 1, tzinfo=UTC))
        for number in range(count)
    ]


async def test_every_post_that_is_scored_is_watched_and_can_be_asked_about(scorer):
    await scorer.score(asked(40))
    await scorer.score(asked(40))
    counted(scorer._drift)
    plain = msgspec.json.decode(msgspec.json.encode(scorer.drift()))
    assert plain["problem"] == ""
    assert (plain["report"]["rows"], plain["report"]["learning"]) == (80, 80)


async def test_a_second_look_for_evidence_is_not_watched_once_more(scorer):
    seen = []
    scorer._drift.observe = lambda model, watched: seen.extend(watched)
    await scorer.score(asked(40))
    await scorer.score(asked(4), explain=True)
    assert len(seen) == 40


async def test_the_length_of_a_long_text_is_that_of_all_its_passages(scorer):
    seen = []
    scorer._drift.observe = lambda model, watched: seen.extend(watched)
    text = "All is well here. " * 100
    await scorer.score([PostToScore(post_id="p", text=text, posted_at=datetime(2026, 11, 1, tzinfo=UTC))])
    [watched] = seen
    assert len(watched.features.text) < 500
    assert watched.text_length == pytest.approx(len(text), abs=20)


async def test_a_defect_of_watching_costs_no_post_its_scores(scorer):
    scorer._models.champion.scaling = None
    answers = await asyncio.wait_for(scorer.score(asked(70)), 10)
    assert all(isinstance(answer, PostScores) for answer in answers)
    counted(scorer._drift)
    assert scorer.drift().problem.startswith("AttributeError")


async def test_making_a_reference_does_not_hold_up_the_event_loop():
    begun, finish = threading.Event(), threading.Event()

    def find(label: str) -> Reference | None:
        begun.set()
        assert finish.wait(10)
        return None

    drift = watch(Recorder(), find)
    drift.observe(MODEL, posts(64))
    assert await asyncio.to_thread(begun.wait, 10)
    drift.observe(MODEL, posts(64))  # at once, though counting hangs
    finish.set()
    report = later(drift).status().report
    assert report is not None and report.rows == 128
    drift.close()
    drift.close()
