"""Stored posts under another policy: what it would have done, and applying it in stages."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import msgspec

from core.clock import Clock
from core.entries import Version
from core.errors import Conflict, InvalidInput, NotFound
from core.ids import derived_id
from core.moderation import AuthorFacts, Decision, PostScores, PostToScore, ReactionFacts, ScoreFailure
from models.moderation.policy import Case, KnownHit, Outcome, Policy, decide
from models.moderation.policy.backtest import PostRow
from storage.moderation import ModerationStore, NewJob, ScannedPost, StaleDecision, Sweep

PAGE = 5_000
STAGES = (0.01, 0.1, 1.0)
_AT_ONCE = 200  # decisions of one transaction
_MACHINE = ("model", "sweep")
_KNOWN = "known-harm."


@dataclass(frozen=True)
class Swept:
    """What a stage of a sweep did: posts looked at, decisions made, posts that somebody decided meanwhile."""

    sweep: Sweep
    looked_at: int
    decided: int
    moved: int


def stored_posts(store: ModerationStore, since: datetime, until: datetime | None = None) -> Iterator[ScannedPost]:
    """Return active posts by time, page by page."""
    after = None
    while page := store.scan_posts(since, after, PAGE, until):
        yield from page
        after = page[-1].place


def case_of(post: ScannedPost) -> Case:
    """Return what the decision in force was made from, as far as it was kept; reports are not."""
    scores: PostScores | ScoreFailure = PostScores(
        post_id=post.post_id,
        scores=post.scores,
        signals=post.signals,
        language=post.language,
        missing=post.missing,
        model_version=post.model_version,
    )
    if not post.scores:
        scores = ScoreFailure(post_id=post.post_id, code="no-scores", message="never scored", transient=False)
    return Case(
        post=PostToScore(
            post_id=post.post_id,
            text=post.text,
            language=post.language,
            media_ids=[""] * post.media,  # rules ask how many there are
            links=post.links,
            device=post.device,
            posted_at=post.posted_at,
            author=post.told.author or AuthorFacts(),
            reactions=post.told.reactions
            or ReactionFacts(
                impressions=post.impressions, likes=post.likes, shares=post.shares, comments=post.comments
            ),
        ),
        scores=scores,
        now=post.decided_at,
        known=[
            KnownHit(list_name=rule.removeprefix(_KNOWN), distance=0) for rule in post.rules if rule.startswith(_KNOWN)
        ],
    )


def rows(store: ModerationStore, since: datetime, until: datetime | None = None) -> Iterator[PostRow]:
    """Return stored posts as a backtest reads them."""
    for post in stored_posts(store, since, until):
        machine = post.actor in _MACHINE
        yield PostRow(
            case=case_of(post),
            action=post.action if machine else None,
            harm=post.harm if machine else None,
            factor=post.factor,
            by_person=not machine,
            label=post.label,
            label_harm=post.label_harm,
            impressions=post.impressions,
        )


def in_stage(post_id: str, share: float) -> bool:
    """Tell whether a post is among the share that a stage does: always the same, more with each stage."""
    return int(derived_id(post_id, "moderation.sweep.stage")[-8:], 16) / 2**32 < share


def sweep_stage(
    store: ModerationStore,
    sweep_id: str,
    policy: Policy,
    clock: Clock,
    *,
    since: datetime,
    by: str,
    at_most: int,
    advance: Callable[[int], None] = lambda posts: None,
) -> Swept:
    """Apply the policy to the posts of the sweep's stage that a machine decided, and move on to the next stage.

    What a person decided stays. The same stage again, after a crash, makes no decision twice.

    Raises:
        NotFound: there is no such sweep.
        Conflict: it does not run, or another policy was meant; or it would make more than `at_most` decisions, which
            pauses it.
    """
    sweep = store.sweep(sweep_id)
    if sweep is None:
        raise NotFound(f"there is no sweep {sweep_id!r}")
    if sweep.state != "running":
        raise Conflict(f"sweep {sweep_id} is {sweep.state}; only a running one decides")
    if sweep.policy_version != policy.version:
        raise Conflict(f"sweep {sweep_id} is of policy {sweep.policy_version}, the file is {policy.version}")
    looked_at = decided = moved = 0
    waiting: list[tuple[ScannedPost, Outcome]] = []

    def flush() -> None:
        nonlocal decided, moved
        made, lost = _record(store, sweep_id, waiting, clock)
        decided, moved = decided + made, moved + lost
        waiting.clear()

    share = sweep.stages[sweep.stage]
    for post in stored_posts(store, since):
        looked_at += 1
        if looked_at % 500 == 0:
            advance(500)
        if post.actor not in _MACHINE or not in_stage(post.post_id, share):
            continue
        outcome = decide(policy, case_of(post))
        if _changes(post, outcome):
            waiting.append((post, outcome))
        if len(waiting) >= _AT_ONCE:
            flush()
            if decided > at_most:
                store.change_sweep(sweep_id, by, state="paused")
                raise Conflict(
                    f"sweep {sweep_id} made {decided} decisions in this stage, over the {at_most} that were allowed; "
                    "it is paused. `riverlight moderation undo` takes it back, `--at-most` allows more"
                )
    flush()
    advance(looked_at % 500)
    last = sweep.stage + 1 >= len(sweep.stages)
    after = (
        store.change_sweep(sweep_id, by, state="done")
        if last
        else store.change_sweep(sweep_id, by, stage=sweep.stage + 1)
    )
    return Swept(after, looked_at, decided, moved)


def _changes(post: ScannedPost, outcome: Outcome) -> bool:
    if outcome.action != post.action:
        return True
    return outcome.action == "demote" and outcome.factor != post.factor


def _record(
    store: ModerationStore, sweep_id: str, waiting: list[tuple[ScannedPost, Outcome]], clock: Clock
) -> tuple[int, int]:
    """Bring decisions into force; return how many, and of how many posts somebody decided meanwhile."""
    todo, moved = list(waiting), 0
    while todo:
        before = store.decisions([post.decision_id for post, _ in todo])
        made = [_decision(sweep_id, before[post.decision_id], outcome, clock.now()) for post, outcome in todo]
        jobs = [
            NewJob(post.post_id, "decision", 0.0, _rule(outcome), outcome.harm)
            for post, outcome in todo
            if outcome.action in ("review", "demote")
        ]
        try:
            recorded = store.record("sweep", [], decisions=made, jobs=jobs)
        except StaleDecision as error:
            gone = set(error.post_ids)
            moved += len(gone)
            todo = [(post, outcome) for post, outcome in todo if post.post_id not in gone]
            continue
        return len(recorded.decisions), moved
    return 0, moved


def _decision(sweep_id: str, before: Decision, outcome: Outcome, now: datetime) -> Decision:
    cause = f"{sweep_id}:{before.post_id}"
    return msgspec.structs.replace(
        before,
        decision_id=derived_id(cause, "moderation.sweep"),
        action=outcome.action,
        version=Version.of(now, 0),
        reasons=outcome.reasons,
        actor="sweep",
        actor_id=sweep_id,
        automated=True,
        harm=outcome.harm,
        factor=outcome.factor,
        urgency=outcome.urgency,
        policy_version=outcome.policy_version,
        note="",
        supersedes=before.decision_id,
        event_id=cause,
        decided_at=now,
    )


def _rule(outcome: Outcome) -> str:
    return outcome.reasons[0].rule if outcome.reasons else "sweep"


def stages_of(text: str) -> tuple[float, ...]:
    """Read `0.01,0.1,1`. Raises InvalidInput."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InvalidInput(f"stages {text!r} are not numbers with commas between them, such as 0.01,0.1,1") from None
