"""What people said of stored posts, as learning reads it; posts chosen for labels; a challenger's scores compared."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from moderation_said import NOW, POLICY, SETTINGS, World

from core.errors import NotFound
from core.moderation import HARM_CLASSES, AuthorFacts, ReactionFacts
from core.settings import CatalogueSettings
from infra.moderation_labels import Posts
from infra.moderation_sampling import sample_labels
from infra.moderation_shadow import shadow
from models.moderation.learning.round import post_hash
from storage.catalogue import Catalogue
from storage.moderation import NewJob

WORDS = ("apple", "bridge", "candle", "dolphin", "ember")
HATE = HARM_CLASSES.index("hate")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    catalogue = Catalogue.open(f"sqlite:///{tmp_path / 'catalogue.db'}", CatalogueSettings())
    yield World(catalogue)
    catalogue.close()


# --- what people said ------------------------------------------------------------------------------------------------


def test_reports_of_people_with_a_record_teach_the_class_they_name(world: World) -> None:
    world.post("p")
    world.reported("p", people=3)
    [example] = world.posts.said().reported
    assert example.targets[HATE] == pytest.approx(3 / 4, abs=0.01)
    assert np.isnan(np.delete(example.targets, HATE)).all()


def test_a_crowd_of_new_accounts_teaches_nothing(world: World) -> None:
    world.post("p")
    world.reported("p", people=50, days=0.04)
    assert world.posts.said().reported == []


def test_reports_that_name_no_class_teach_nothing_and_the_post_is_not_harmless(world: World) -> None:
    world.post("p")
    world.seen("p", 500)
    world.reported("p", harm=None)
    assert world.posts.said().natural == []


def test_a_post_that_many_saw_and_nobody_reported_teaches_that(world: World) -> None:
    for post_id, times in (("seen", 25), ("unseen", 5)):
        world.post(post_id)
        world.seen(post_id, times)
    [example] = world.posts.said().natural
    assert (example.known.post_id, example.unreported) == ("seen", 25)
    assert np.isnan(example.targets).all()


def test_what_a_person_judged_asks_and_never_teaches(world: World) -> None:
    for post_id, harm in (("bad", "hate"), ("fine", None)):
        world.post(post_id)
        world.seen(post_id, 100)
        world.reported(post_id)
        world.judged(post_id, harm)  # type: ignore[arg-type]
    said = world.posts.said()
    assert said.natural == []
    targets = {one.known.post_id: one.targets for one in said.judged}
    assert targets["bad"][HATE] == 1.0
    assert np.isnan(np.delete(targets["bad"], HATE)).all()
    assert targets["fine"].tolist() == [0.0] * len(HARM_CLASSES)


def test_a_judgement_of_what_a_post_said_before_says_nothing_of_what_it_says_now(world: World) -> None:
    world.post("p")
    world.judged("p")
    world.post("p", version=2, text="something else")
    said = world.posts.said()
    assert (said.judged, said.natural) == ([], [])


def test_features_are_those_of_the_first_decision_about_the_content(world: World) -> None:
    world.post("p")
    world.again("p")
    world.reported("p")
    [example] = world.posts.said().reported
    assert example.known.author == AuthorFacts(posts=1)
    assert example.known.reactions == ReactionFacts(impressions=1)
    world.post("p", version=2, text="something else")
    [example] = world.posts.said().reported
    assert example.known.author == AuthorFacts(posts=2)


def test_texts_of_posts_that_taught_are_found_again_by_their_hashes(world: World) -> None:
    world.post("p")
    world.post("q")
    assert world.posts.texts([post_hash("q"), 12345]) == ["the words of q"]


# --- posts to be labelled --------------------------------------------------------------------------------------------


def test_uncertain_posts_wait_for_a_reviewer_once_and_count_for_no_prevalence(world: World) -> None:
    for number in range(8):
        world.post(f"p{number}", hate=0.3 + number / 100, text=" ".join(f"{number}{word}" for word in WORDS))
    found = sample_labels(world.catalogue, POLICY, SETTINGS, budget=3)
    assert (found.opened, len(found.picks), found.used_today) == (3, 3, 0)
    jobs = world.store.next_jobs()
    assert {job.post_id for job in jobs} == {one.post_id for one in found.picks}
    assert {(job.kind, job.sample_rate) for job in jobs} == {("decision", None)}
    assert all(job.reason.startswith("label.") for job in jobs)
    again = sample_labels(world.catalogue, POLICY, SETTINGS, budget=5)
    assert (again.used_today, again.opened) == (3, 2)
    assert not {one.post_id for one in again.picks} & {one.post_id for one in found.picks}
    assert sample_labels(world.catalogue, POLICY, SETTINGS, budget=5).opened == 0


def test_a_dry_run_opens_nothing(world: World) -> None:
    world.post("p", hate=0.3)
    found = sample_labels(world.catalogue, POLICY, SETTINGS, dry_run=True)
    assert (len(found.picks), found.opened, world.store.next_jobs()) == (1, 0, [])


def test_posts_that_somebody_judged_or_will_judge_are_not_picked(world: World) -> None:
    for post_id in ("judged", "waiting"):
        world.post(post_id, hate=0.3)
    world.judged("judged")
    world.store.record("test", [], jobs=[NewJob("waiting", "decision", 1.0, "reports")])
    found = sample_labels(world.catalogue, POLICY, SETTINGS)
    assert (found.posts, found.picks, found.labelled["hate"]) == (0, [], 1)


def test_a_label_that_was_asked_for_is_one_of_a_review(world: World) -> None:
    world.post("p", hate=0.3)
    sample_labels(world.catalogue, POLICY, SETTINGS)
    [job] = world.store.next_jobs()
    world.store.lease("ada", job.job_id)
    world.store.decide(job.job_id, "ada", "allow", None, "harmless")
    [label] = world.store.labels_of("p")
    assert (label.source, label.sample_rate) == ("review", None)
    assert [one.known.post_id for one in world.posts.said().judged] == ["p"]


# --- a challenger ----------------------------------------------------------------------------------------------------


def test_a_challenger_is_compared_on_the_posts_that_both_scored(world: World) -> None:
    world.post("same", challenger=0.02)
    world.post("stricter", challenger=0.999)
    world.post("alone")
    found = shadow(world.store, POLICY, NOW - timedelta(days=1))
    assert (found.champion, found.challenger, found.posts) == ("m/1", "m/2", 2)
    assert [(one.post_id, one.now, one.then) for one in found.changed] == [("stricter", "allow", "enforce")]
    assert found.latency["challenger"].median_ms == 2.0


def test_what_a_person_decides_keeps_what_the_challenger_said(world: World) -> None:
    world.post("p", challenger=0.999)
    world.judged("p")
    found = shadow(world.store, POLICY, NOW - timedelta(days=1))
    assert (found.posts, found.judged) == (1, 1)
    assert found.right["challenger"].recall == 1.0
    assert found.right["champion"].recall == 0.0


def test_without_a_challenger_the_message_says_how_to_have_one(world: World) -> None:
    world.post("p")
    with pytest.raises(NotFound, match="--alias challenger"):
        shadow(world.store, POLICY, NOW - timedelta(days=1))
    world.post("q", challenger=0.5)
    with pytest.raises(NotFound, match="there were: m/2"):
        shadow(world.store, POLICY, NOW - timedelta(days=1), "m/9")


def test_settings_bound_how_many_posts_are_read_but_not_how_many_were_judged(world: World) -> None:
    for number in range(6):
        world.post(f"p{number}", version=number + 1)
        world.seen(f"p{number}", 30)
    world.judged("p0")
    few = SETTINGS.model_copy(update={"max_posts": 2})
    said = Posts(world.catalogue, POLICY, few).said()
    assert [one.known.post_id for one in said.judged] == ["p0"]
    assert [one.known.post_id for one in said.natural] == ["p4", "p5"]
