"""Another policy on stored posts: tried without consequences, applied in stages, taken back."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.clock import SystemClock
from core.entries import Version
from core.errors import Conflict
from core.moderation import HARM_CLASSES, PostScores, PostToScore
from core.settings import CatalogueSettings
from infra.moderation_history import case_of, in_stage, rows, stages_of, stored_posts, sweep_stage
from models.moderation.judging import Facts, judge
from models.moderation.policy import Policy, load_policy, parse_policy
from models.moderation.policy.backtest import backtest
from storage.catalogue import Catalogue
from storage.moderation import ModerationStore, StoredPost

NOW = datetime.now(UTC)
SINCE = NOW - timedelta(days=30)
POSTS = 60


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ModerationStore]:
    catalogue = Catalogue.open(f"sqlite:///{tmp_path / 'catalogue.db'}", CatalogueSettings())
    found = ModerationStore(catalogue.database)
    policy = load_policy(None)
    posts, decisions = [], []
    for number in range(POSTS):
        post_id = f"p{number}"
        scores = dict.fromkeys(HARM_CLASSES, 0.01) | {"hate": 0.4 if number % 3 == 0 else 0.01}
        asked = PostToScore(post_id=post_id, text="words", posted_at=NOW)
        answer = PostScores(post_id=post_id, scores=scores, model_version="m/1")  # type: ignore[arg-type]
        judged = judge(policy, Facts(post=asked), answer, (), now=NOW, author_id=f"a{number}", event_id=f"e{number}")
        assert judged.decision is not None
        assert judged.outcome.action == "allow"
        posts.append(StoredPost(post_id, f"a{number}", NOW, Version.of(NOW, number), f"e{number}", text="words"))
        decisions.append(judged.decision)
    found.record("test", [], posts=posts, decisions=decisions)
    yield found
    catalogue.close()


@pytest.fixture
def stricter() -> Policy:
    """The default policy, with reviews of hate from .3."""
    text = (Path(__file__).parents[3] / "models/moderation/policy/default.yaml").read_text(encoding="utf-8")
    before, hate, after = text.partition("\n  hate:\n    review: 0.5")
    assert hate, "the default policy says something else of hate now"
    return parse_policy((before + "\n  hate:\n    review: 0.3" + after).encode(), source="stricter")


def actions(store: ModerationStore) -> dict[str, int]:
    found: dict[str, int] = {}
    for post in stored_posts(store, SINCE):
        found[post.action] = found.get(post.action, 0) + 1
    return found


def test_a_backtest_counts_what_would_change_and_changes_nothing(store: ModerationStore, stricter: Policy) -> None:
    head = store.audit_head()
    found = backtest(stricter, rows(store, SINCE))
    assert found.posts == POSTS
    assert found.changes["allow"]["review"] == POSTS // 3
    assert found.by_class["hate"].acted["review"] == POSTS // 3
    assert store.audit_head() == head


def test_the_policy_in_force_would_have_done_what_it_did(store: ModerationStore) -> None:
    found = backtest(load_policy(None), rows(store, SINCE))
    assert found.changes["allow"]["allow"] == POSTS


def test_a_sweep_goes_by_stages_and_is_taken_back_whole(store: ModerationStore, stricter: Policy) -> None:
    store.start_sweep("s", stricter.version, (0.3, 1.0), "ada", "a test")
    first = sweep_stage(store, "s", stricter, SystemClock(), since=SINCE, by="ada", at_most=1_000)
    assert 0 < first.decided < POSTS // 3
    second = sweep_stage(store, "s", stricter, SystemClock(), since=SINCE, by="ada", at_most=1_000)
    assert first.decided + second.decided == POSTS // 3
    assert actions(store) == {"allow": POSTS - POSTS // 3, "review": POSTS // 3}
    assert second.sweep.state == "done"
    while store.undo_sweep("s", "ada", "wrong").left:
        pass
    assert actions(store) == {"allow": POSTS}


def test_a_sweep_leaves_alone_what_a_person_decided(store: ModerationStore, stricter: Policy) -> None:
    store.start_sweep("before", stricter.version, (1.0,), "ada", "to have jobs")
    sweep_stage(store, "before", stricter, SystemClock(), since=SINCE, by="ada", at_most=1_000)
    job = store.lease("rita")
    assert job is not None
    store.decide(job.job_id, "rita", "allow", None, "it is a quotation")
    store.start_sweep("s", stricter.version, (1.0,), "ada", "a test")
    swept = sweep_stage(store, "s", stricter, SystemClock(), since=SINCE, by="ada", at_most=1_000)
    assert swept.decided == 0
    assert store.in_force([job.post_id])[job.post_id].actor == "reviewer"


def test_too_many_decisions_pause_the_sweep(
    store: ModerationStore, stricter: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.moderation_history._AT_ONCE", 5)
    store.start_sweep("s", stricter.version, (1.0,), "ada", "a test")
    with pytest.raises(Conflict, match="it is paused"):
        sweep_stage(store, "s", stricter, SystemClock(), since=SINCE, by="ada", at_most=4)
    assert store.sweep("s").state == "paused"  # type: ignore[union-attr]
    with pytest.raises(Conflict, match="only a running one decides"):
        sweep_stage(store, "s", stricter, SystemClock(), since=SINCE, by="ada", at_most=100)


def test_a_sweep_is_of_one_policy(store: ModerationStore, stricter: Policy) -> None:
    store.start_sweep("s", stricter.version, (1.0,), "ada", "a test")
    with pytest.raises(Conflict, match="is of policy"):
        sweep_stage(store, "s", load_policy(None), SystemClock(), since=SINCE, by="ada", at_most=100)


def test_a_stage_holds_the_stage_before() -> None:
    ids = [f"post-{number}" for number in range(2_000)]
    small, large = ({one for one in ids if in_stage(one, share)} for share in (0.05, 0.5))
    assert small < large
    assert 60 < len(small) < 140
    assert all(in_stage(one, 1.0) for one in ids)


def test_a_post_that_was_never_scored_is_a_failure_again(store: ModerationStore) -> None:
    post = next(stored_posts(store, SINCE))
    object.__setattr__(post, "scores", {})
    assert type(case_of(post).scores).__name__ == "ScoreFailure"


def test_stages_are_read_from_text() -> None:
    assert stages_of("0.01,0.1,1") == (0.01, 0.1, 1.0)
