"""Sweeping: how a sweep goes on, and how it is taken back."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from core.errors import Conflict, InvalidInput
from core.ids import derived_id
from core.moderation import Decision, Reason
from storage.catalogue.base import clean
from storage.moderation import decisions, jobs, sweeps
from storage.moderation.audit import Entry
from storage.moderation.jobs import NewJob
from storage.moderation.recording import apply_decisions
from storage.moderation.sweeps import NEXT, UNDO, Sweep, SweepState
from storage.moderation.waiting import follow_up
from storage.moderation.work import Work

_ALL_JOBS: tuple[jobs.JobState, ...] = ("open", "leased", "done", "moot")


@dataclass(frozen=True)
class Undone:
    """What a call took back, and how many of the sweep's decisions are still in force."""

    undone: int
    left: int


def start(
    work: Work, sweep_id: str, policy_version: str, stages: Sequence[float], started_by: str, reason: str
) -> Sweep:
    """Start a sweep; see `Governance.start_sweep`."""
    shares = tuple(float(share) for share in stages)
    if not shares or list(shares) != sorted(set(shares)) or not 0 < shares[0] <= shares[-1] <= 1:
        raise InvalidInput(f"a sweep's stages are shares that rise to at most 1, such as 0.01, 0.1, 1; got {stages}")
    there = sweeps.read(work.connection, sweep_id)
    if there is not None:
        if (there.policy_version, there.stages) != (policy_version, shares):
            raise Conflict(f"sweep {sweep_id!r} is one of policy {there.policy_version}: give the new one another id")
        return there
    if not sweep_id or sweep_id.endswith(UNDO):
        raise InvalidInput(f"{sweep_id!r} cannot be the id of a sweep")
    sweep = Sweep(
        sweep_id=sweep_id,
        policy_version=policy_version,
        stages=shares,
        stage=0,
        state="running",
        started_by=clean(started_by),
        reason=_checked(reason),
        started_at=work.now,
        updated_at=work.now,
    )
    sweeps.add(work.connection, sweep)
    payload = {"policy": policy_version, "stages": list(shares)}
    work.entries.append(Entry(f"admin:{started_by}", "sweep.started", sweep_id, payload))
    return sweep


def change(work: Work, sweep_id: str, by: str, state: SweepState | None = None, stage: int | None = None) -> Sweep:
    """Change a sweep's state or stage; see `Governance.change_sweep`."""
    sweep = sweeps.wanted(work.connection, sweep_id)
    state, stage = state or sweep.state, sweep.stage if stage is None else stage
    if (state, stage) == (sweep.state, sweep.stage):
        return sweep
    if state not in NEXT[sweep.state]:
        raise Conflict(f"sweep {sweep_id} is {sweep.state} and cannot become {state}")
    if not sweep.stage <= stage < len(sweep.stages):
        raise Conflict(f"sweep {sweep_id} is in stage {sweep.stage} of {len(sweep.stages)} and cannot go to {stage}")
    sweeps.change(work.connection, sweep_id, state=state, stage=stage, updated_at=work.now)
    payload = {"state": state, "stage": stage, "decisions": sweep.decisions, "undone": sweep.undone}
    work.entries.append(Entry(f"admin:{by}", "sweep.changed", sweep_id, payload))
    return sweeps.wanted(work.connection, sweep_id)


def undo(work: Work, sweep_id: str, by: str, reason: str, limit: int) -> Undone:
    """Take decisions of a sweep back; see `Governance.undo_sweep`."""
    reason = _checked(reason)
    if sweeps.wanted(work.connection, sweep_id).state != "undone":
        change(work, sweep_id, by, state="undoing")
    ids = sweeps.standing(work.connection, sweep_id, limit)
    taken_back = decisions.read(work.connection, ids)
    before = _before(work, sweep_id, taken_back)
    work.load(decision.post_id for decision in taken_back.values())
    restored = [_restored(work, sweep_id, one, before[one.decision_id], reason) for one in taken_back.values()]
    work.told = {
        derived_id(decision_id, "undo"): decisions.told(work.connection, one.decision_id)
        for decision_id, one in before.items()
    }
    made = apply_decisions(work, restored)
    follow_up(work, made, _jobs(work, made), ())
    left = sweeps.count_standing(work.connection, sweep_id)
    sweep = sweeps.wanted(work.connection, sweep_id)
    undone = sweep.undone + len(made)
    sweeps.change(work.connection, sweep_id, undone=undone, updated_at=work.now)
    if not left and sweep.state != "undone":
        change(work, sweep_id, by, state="undone")
    return Undone(len(made), left)


def _before(work: Work, sweep_id: str, taken_back: dict[str, Decision]) -> dict[str, Decision]:
    """Return, by decision of the sweep, the last one before it that the sweep did not make."""
    before: dict[str, Decision] = {}
    for decision in taken_back.values():
        found = decision
        for one in reversed(decisions.history(work.connection, decision.post_id)):
            if one.decision_id == found.supersedes and found.actor_id == sweep_id:
                found = one
        before[decision.decision_id] = found
    return before


def _restored(work: Work, sweep_id: str, decision: Decision, before: Decision, reason: str) -> Decision:
    reasons = [Reason(rule=f"undo.{sweep_id}", action=before.action, harm=before.harm), *before.reasons]
    return msgspec.structs.replace(
        before,
        decision_id=derived_id(decision.decision_id, "undo"),
        author_id=work.posts[decision.post_id].author_id,
        item_ids=list(work.posts[decision.post_id].item_ids),
        reasons=reasons,
        actor="sweep",
        actor_id=sweep_id + UNDO,
        note=reason,
        supersedes=decision.decision_id,
        event_id=sweep_id,
        trace_id="",
        decided_at=work.now,
    )


def _jobs(work: Work, made: Sequence[Decision]) -> list[NewJob]:
    """A post that is uncertain or demoted again waits for a person again, with the priority it had."""
    waiting = [decision for decision in made if decision.action in ("review", "demote")]
    last = {
        job.post_id: job
        for job in jobs.of_posts(work.connection, [one.post_id for one in waiting], _ALL_JOBS)
        if job.kind == "decision"
    }
    return [
        NewJob(
            post_id=one.post_id,
            kind="decision",
            priority=last[one.post_id].priority if one.post_id in last else 0.0,
            reason="a sweep was taken back",
            harm=one.harm,
        )
        for one in waiting
    ]


def _checked(reason: str) -> str:
    reason = clean(reason).strip()
    if not reason:
        raise InvalidInput("to start a sweep or take one back needs a reason")
    return reason
