"""The verifier of posts finds what was planted, and nothing where nothing is wrong."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from core.entries import Version
from infra.chaos.posts.ledger import HARMFUL, PostPlan, write_posts
from infra.chaos.posts.model import PostsModel, PostState
from infra.chaos.posts.verifier import PostsObserved, SeenDecision, SeenPost, SeenVerdict, shown, verify_posts
from infra.chaos.verifier import Letter

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
_VERDICTS = {"enforce": "enforced", "demote": "demoted"}


@pytest.fixture(scope="module")
def model() -> PostsModel:
    plan = PostPlan(30, 200, 150, items=5)
    return write_posts(7, "run", plan, start=START, media_ids=[f"{n:064x}" for n in range(5)]).model()


@pytest.fixture
def right(model: PostsModel) -> PostsObserved:
    """What is there when everything went well."""
    posts, decisions, verdicts = {}, {}, {}
    for post_id, state in model.posts.items():
        version = Version(state.time_us, 0)
        posts[post_id] = SeenPost(state, version, f"d-{post_id}")
        action = "enforce" if state.text in HARMFUL else "allow"
        decisions[post_id] = [
            SeenDecision(
                f"d-{post_id}", action, "model", state.event_id, None, version, items=state.item_ids
            )
        ]  # fmt: skip
        if action in _VERDICTS:
            verdicts[post_id] = SeenVerdict(_VERDICTS[action], f"d-{post_id}")
    seen = PostsObserved(
        logged=frozenset(model.events),
        letters={letter_id: Letter(code, "open") for letter_id, code in model.letters.items()},
        posts=posts,
        decisions=decisions,
        published={post_id: frozenset(one.decision_id for one in made) for post_id, made in decisions.items()},
        verdicts=verdicts,
        reactions={post_id: dict(counts) for post_id, counts in model.reactions.items()},
        moderated=frozenset(model.written),
        reacted=frozenset(model.reacted),
    )
    return replace(seen, items=shown(model, seen))


def counts(model: PostsModel, seen: PostsObserved) -> tuple[int, int, int, int]:
    verdict = verify_posts(model, seen)
    assert verdict.clean == (not verdict.examples)
    return verdict.lost, verdict.twice, verdict.wrong, verdict.unexpected


def some(model: PostsModel, fits: Callable[[PostState], bool]) -> str:
    return next(post_id for post_id, state in model.posts.items() if fits(state))


def harmless(model: PostsModel) -> str:
    return some(model, lambda one: one.state == "active" and one.text not in HARMFUL)


def harmful(model: PostsModel) -> str:
    return some(model, lambda one: one.text in HARMFUL and not one.item_ids)


def with_decision(seen: PostsObserved, post_id: str, **changes: object) -> PostsObserved:
    one = replace(seen.decisions[post_id][-1], **changes)  # type: ignore[arg-type]
    return replace(seen, decisions={**seen.decisions, post_id: [*seen.decisions[post_id][:-1], one]})


def without(found: dict[str, object], key: str) -> dict[str, object]:
    return {name: value for name, value in found.items() if name != key}


def test_what_is_right_is_clean(model: PostsModel, right: PostsObserved) -> None:
    assert counts(model, right) == (0, 0, 0, 0)
    assert verify_posts(model, right).dead_lettered == len(model.letters) > 0


def test_an_event_that_is_missing_in_log_or_inbox_is_lost(model: PostsModel, right: PostsObserved) -> None:
    post, reaction = min(model.written), min(model.reacted)
    assert counts(model, replace(right, logged=right.logged - {post})) == (1, 0, 0, 0)
    assert counts(model, replace(right, moderated=right.moderated - {post})) == (1, 0, 0, 0)
    assert counts(model, replace(right, reacted=right.reacted - {reaction})) == (1, 0, 0, 0)
    required = frozenset(model.events - {post})
    assert verify_posts(model, replace(right, logged=required), required=required).clean


def test_a_post_without_row_or_decision_is_lost(model: PostsModel, right: PostsObserved) -> None:
    post_id = harmless(model)
    assert counts(model, replace(right, posts=without(dict(right.posts), post_id))) == (1, 0, 0, 0)  # type: ignore[arg-type]
    undecided = replace(right.posts[post_id], decision_id=None)
    assert counts(model, replace(right, posts={**right.posts, post_id: undecided})) == (1, 0, 0, 0)


def test_an_old_version_and_a_deleted_post_that_is_there_are_wrong(model: PostsModel, right: PostsObserved) -> None:
    post_id = harmless(model)
    old = replace(right.posts[post_id], state=replace(model.posts[post_id], text="as it was", event_id="before"))
    assert counts(model, replace(right, posts={**right.posts, post_id: old})) == (0, 0, 1, 0)
    gone = some(model, lambda one: one.state == "deleted")
    back = replace(right.posts[gone], state=replace(model.posts[gone], state="active", text="Good morning."))
    assert counts(model, replace(right, posts={**right.posts, gone: back})) == (0, 0, 1, 0)


def test_a_deleted_post_that_was_never_seen_alive_has_no_author(model: PostsModel, right: PostsObserved) -> None:
    gone = some(model, lambda one: one.state == "deleted")
    nobody = replace(right.posts[gone], state=replace(model.posts[gone], author_id=""))
    assert counts(model, replace(right, posts={**right.posts, gone: nobody})) == (0, 0, 0, 0)


def test_a_decision_about_another_version_without_scores_or_too_mild_is_wrong(
    model: PostsModel, right: PostsObserved
) -> None:
    post_id = harmless(model)
    assert counts(model, with_decision(right, post_id, of=Version(1, 0))) == (0, 0, 1, 0)
    assert counts(model, with_decision(right, post_id, action="review", failed=True)) == (0, 0, 1, 0)
    assert counts(model, with_decision(right, post_id, action="review")) == (0, 0, 0, 0)
    milder = with_decision(right, harmful(model), action="allow")
    seen = replace(milder, verdicts=without(dict(right.verdicts), harmful(model)))  # type: ignore[arg-type]
    assert counts(model, seen) == (0, 0, 1, 0)


def test_letting_a_post_through_without_scores_is_wrong_even_if_it_was_mended(
    model: PostsModel, right: PostsObserved
) -> None:
    post_id = harmless(model)
    [last] = right.decisions[post_id]
    first = SeenDecision("d-0", "allow", "model", "other", None, failed=True, scored=False)
    history = [first, replace(last, supersedes="d-0")]
    published = {**right.published, post_id: frozenset(("d-0", last.decision_id))}
    seen = replace(right, decisions={**right.decisions, post_id: history}, published=published)
    assert counts(model, seen) == (0, 0, 1, 0)
    assert "without scores" in verify_posts(model, seen).examples["wrong"][0]


def test_two_decisions_for_one_event_and_two_side_by_side_are_found(model: PostsModel, right: PostsObserved) -> None:
    post_id = harmless(model)
    [last] = right.decisions[post_id]
    published = {**right.published, post_id: frozenset(("d-0", last.decision_id))}
    twice = replace(right, published=published)
    chained = [replace(last, decision_id="d-0"), replace(last, supersedes="d-0")]
    assert counts(model, replace(twice, decisions={**right.decisions, post_id: chained})) == (0, 1, 0, 0)
    beside = [replace(last, decision_id="d-0", event_id="other"), last]
    assert counts(model, replace(twice, decisions={**right.decisions, post_id: beside})) == (0, 1, 0, 0)


def test_decisions_and_their_topic_must_agree(model: PostsModel, right: PostsObserved) -> None:
    post_id = harmless(model)
    assert counts(model, replace(right, published={**right.published, post_id: frozenset()})) == (1, 0, 0, 0)
    more = right.published[post_id] | {"d-ghost"}
    assert counts(model, replace(right, published={**right.published, post_id: more})) == (0, 0, 0, 1)


def test_a_verdict_that_is_missing_of_another_decision_or_too_many_is_wrong(
    model: PostsModel, right: PostsObserved
) -> None:
    post_id = harmful(model)
    assert counts(model, replace(right, verdicts=without(dict(right.verdicts), post_id))) == (0, 0, 1, 0)  # type: ignore[arg-type]
    other = {**right.verdicts, post_id: SeenVerdict("enforced", "d-old")}
    assert counts(model, replace(right, verdicts=other)) == (0, 0, 1, 0)
    too_many = {**right.verdicts, harmless(model): SeenVerdict("enforced", "d-old")}
    assert counts(model, replace(right, verdicts=too_many)) == (0, 0, 1, 0)
    cleared = {**right.verdicts, harmless(model): SeenVerdict("clear")}
    assert counts(model, replace(right, verdicts=cleared)) == (0, 0, 0, 0)


def test_reactions_that_are_missing_or_counted_twice_are_found_with_their_number(
    model: PostsModel, right: PostsObserved
) -> None:
    post_id = max(model.reactions, key=lambda one: model.reactions[one]["impressions"])
    number = model.reactions[post_id]["impressions"]
    for added, expected in ((-2, (2, 0, 0, 0)), (3, (0, 3, 0, 0))):
        counted = {**right.reactions[post_id], "impressions": number + added}
        assert counts(model, replace(right, reactions={**right.reactions, post_id: counted})) == expected


def test_what_a_person_was_told_must_be_in_force(model: PostsModel, right: PostsObserved) -> None:
    post_id = harmless(model)
    told = replace(model, reviewed={post_id: "enforce"})
    assert counts(told, right)[0] == 1
    seen = with_decision(right, post_id, action="enforce", actor="reviewer")
    decision_id = right.decisions[post_id][-1].decision_id
    seen = replace(seen, verdicts={**right.verdicts, post_id: SeenVerdict("enforced", decision_id)})
    seen = replace(seen, items=shown(told, seen))
    assert counts(told, seen) == (1, 0, 0, 0), "nobody can learn from it: there is no label"
    assert counts(told, replace(seen, labels=frozenset((decision_id,)))) == (0, 0, 0, 0)


def test_an_item_that_a_search_shows_or_hides_against_the_decisions_is_wrong(
    model: PostsModel, right: PostsObserved
) -> None:
    hidden = [item for item, is_open in right.items.items() if not is_open]
    assert hidden, "no item is taken down: nothing is proven"
    assert counts(model, replace(right, items={**right.items, hidden[0]: True})) == (0, 0, 1, 0)
    assert counts(model, replace(right, items=dict.fromkeys(right.items, False)))[2] == len(right.items) - len(hidden)
    assert counts(model, replace(right, items={})) == (0, 0, 0, 0)  # nobody asked


def test_what_nobody_wrote_what_waits_and_a_broken_chain_are_found(model: PostsModel, right: PostsObserved) -> None:
    ghost = replace(right.posts[harmless(model)], decision_id=None)
    assert counts(model, replace(right, posts={**right.posts, "run-ghost": ghost})) == (0, 0, 0, 1)
    assert counts(model, replace(right, outbox=3)) == (3, 0, 0, 0)
    assert counts(model, replace(right, audit="entry 7 is missing")) == (0, 0, 1, 0)
