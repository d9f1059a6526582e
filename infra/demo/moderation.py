"""Moderation from outside: posts written, decisions followed, reports, reviews, an appeal, another policy.

Latency is from a post's event to its decision being in the log. Quality is of texts that no model was trained on.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import InvalidInput, Unavailable
from core.moderation import HARM_CLASSES, Decision, decode_decision
from core.topics import DECISIONS
from infra.demo.platform import Platform, PlatformRefused, event, wait_until
from infra.demo.posts import DemoPost
from infra.demo.report import Auc, Moderation, Percentiles
from models.metrics.classification import pr_auc, roc_auc
from models.moderation.policy import load_policy
from storage.log.reader import LogReader, end_offsets

POSTS_PER_S = 20.0
TIMEOUT_S = 60.0
_REPORTERS, _REVIEWS = 6, 12
_RELOAD_S = 10.0
_STORY = "WINNER!! You have won a FREE phone. Claim your prize now: http://win-prizes.top or call 09061701461"
_PLEA = "It is a picture of the swindle, to warn others of it."


@dataclass
class Followed:
    """The decisions of the log, as they come."""

    decisions: dict[str, list[tuple[float, Decision]]] = field(default_factory=dict)

    def first(self, post_id: str) -> tuple[float, Decision] | None:
        found = self.decisions.get(post_id)
        return found[0] if found else None

    def last(self, post_id: str) -> Decision | None:
        found = self.decisions.get(post_id)
        return found[-1][1] if found else None


class DecisionLog:
    """Follows `moderation.decisions.v1` in a thread, from its end on."""

    def __init__(self, bootstrap: str) -> None:
        self.followed = Followed()
        self._reader = LogReader(bootstrap, DECISIONS.name, start=end_offsets(bootstrap, DECISIONS.name))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-decisions", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
        self._reader.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for record in self._reader.poll(500, 0.1):
                try:
                    decision = decode_decision(record.value or b"")
                except InvalidInput:
                    continue
                self.followed.decisions.setdefault(decision.post_id, []).append((time.time(), decision))


async def play(
    platform: Platform,
    bootstrap: str,
    posts: Sequence[DemoPost],
    *,
    run: str,
    item: str,
    media_id: str,
    owner: str,
    policy: Path | None,
    advance: Callable[[int], None],
) -> Moderation:
    """Write the posts, wait for what is decided, and play what people do about it.

    `item` is an upload of `owner` with the image `media_id`: the post of the story shows it. `policy` is the file that
    the system goes by, None where it is not ours to change.
    """
    log = await asyncio.to_thread(DecisionLog, bootstrap)
    try:
        await _introduce(platform, run, posts, owner)
        sent = await _write(platform, posts, advance)
        await wait_until(
            partial(_all_decided, log.followed, list(sent)), what="decisions", timeout_s=TIMEOUT_S, every_s=0.05
        )
        first = {post_id: found for post_id in sent if (found := log.followed.first(post_id)) is not None}
        latency = [max(0.0, at - sent[post_id]) for post_id, (at, _) in first.items()]
        decisions = {post_id: decision for post_id, (_, decision) in first.items()}
        check_scored(decisions.values())
        story, gone_s, back_s = await _story(platform, log.followed, run, item, media_id, owner)
        reported = await _report(platform, log.followed, posts, decisions, run)
        reviewed, reversed_ = await _review(platform, posts)
        reload_s = await _change_policy(platform, log.followed, policy, run) if policy is not None else None
    finally:
        await asyncio.to_thread(log.close)
    actions = [decision.action for decision in decisions.values()]
    return Moderation(
        posts=len(posts),
        auc=_auc(posts, decisions),
        latency_s=Percentiles.of(latency),
        latency_p95_s=round(float(np.percentile(latency, 95)), 4),
        enforced=actions.count("enforce"),
        demoted=actions.count("demote"),
        reviewed=reviewed,
        reversed=reversed_ + (back_s is not None),
        reported_to_review=reported,
        edgy_enforced=sum(
            decisions[post.post_id].action == "enforce"
            for post in posts
            if post.unseen and post.harm is None and post.post_id in decisions
        ),
        gone_s=None if gone_s is None else round(gone_s, 4),
        back_s=None if back_s is None else round(back_s, 4),
        policy_reload_s=None if reload_s is None else round(reload_s, 4),
        model=next(iter(scored_by(decisions.values())), ""),
        story=story,
    )


def scored_by(decisions: Iterable[Decision]) -> list[str]:
    """Return the versions of the models that the decisions went by."""
    return sorted({one.model_version for one in decisions} - {""})


def check_scored(decisions: Collection[Decision]) -> None:
    """Raise Unavailable where no decision went by a model: a demo of that would show nothing."""
    if decisions and not scored_by(decisions):
        raise Unavailable(
            f"none of {len(decisions)} posts was scored, so all wait for people: the moderator has no model it can "
            "load (its log says why). `riverlight models list` shows the versions, and `riverlight models promote "
            "moderation/VERSION` makes another the champion"
        )


async def _introduce(platform: Platform, run: str, posts: Sequence[DemoPost], owner: str) -> None:
    """Tell of authors and readers, who all joined a year ago: reports of strangers count little."""
    joined = (datetime.now(UTC) - timedelta(days=400)).isoformat(timespec="seconds")
    people = [*dict.fromkeys(post.author_id for post in posts), owner, *(_reader(run, n) for n in range(_REPORTERS))]
    await platform.send(
        "users",
        [event("user.changed", user, {"user_id": user, "country": "NO", "joined_at": joined}, run) for user in people],
    )


async def _write(platform: Platform, posts: Sequence[DemoPost], advance: Callable[[int], None]) -> dict[str, float]:
    """Send the posts, `POSTS_PER_S` a second; return when each was written."""
    sent: dict[str, float] = {}
    began = time.monotonic()
    tasks = []
    for number, post in enumerate(posts):
        await asyncio.sleep(max(0.0, began + number / POSTS_PER_S - time.monotonic()))
        sent[post.post_id] = time.time()
        tasks.append(asyncio.create_task(platform.send("posts", [_created(post)])))
        advance(1)
    await asyncio.gather(*tasks)
    return sent


async def _all_decided(followed: Followed, post_ids: Sequence[str]) -> bool:
    return all(post_id in followed.decisions for post_id in post_ids)


async def _story(
    platform: Platform, followed: Followed, run: str, item: str, media_id: str, owner: str
) -> tuple[list[str], float | None, float | None]:
    """Follow one post from event to notice, appeal and reversal; return it in lines, and how long search took."""
    post_id = f"demo-{run}-story"
    post = DemoPost(post_id, owner, _STORY, "en", "spam", True)
    lines = [f"{owner} posts “{_STORY}” beside their upload {item}"]
    began = time.time()
    await platform.send("posts", [_created(post, [item])])
    await wait_until(partial(_all_decided, followed, [post_id]), what="the story", timeout_s=TIMEOUT_S)
    at, decision = followed.decisions[post_id][0]
    lines.append(
        f"decided after {at - began:.2f} s: {decision.action} for {decision.harm} "
        f"({decision.scores.get(decision.harm or 'spam')}), by policy {decision.policy_version}, "
        f"{decision.model_version}"
    )
    if decision.action != "enforce":  # another model, another policy
        return lines, None, None
    await wait_until(partial(_is_found, platform, item, media_id, False), what=f"{item} gone", timeout_s=TIMEOUT_S)
    gone_s = time.time() - began
    lines.append(f"the upload is in no answer {gone_s:.2f} s after the post")
    told = await platform.get(f"/v1/posts/{post_id}/decision")
    lines += [f"  notice │ {line}" for line in str(told["text"]).splitlines() if line.strip()]
    appeal = await platform.post(f"/v1/decisions/{decision.decision_id}/appeals", {"author_id": owner, "text": _PLEA})
    lines.append(f"the author appeals: “{_PLEA}”")
    jobs = await platform.get("/v1/review/jobs?kind=appeal&limit=50")
    [job] = [one for one in jobs["jobs"] if one["post_id"] == post_id]
    reviewer = {"reviewer": platform.reviewer}
    await platform.post(f"/v1/review/jobs/{job['job_id']}/lease", reviewer)
    began = time.time()
    await platform.post(
        f"/v1/review/jobs/{job['job_id']}/decision",
        {**reviewer, "action": "allow", "reason": "It warns of the swindle."},
    )
    await wait_until(partial(_is_found, platform, item, media_id, True), what=f"{item} back", timeout_s=TIMEOUT_S)
    back_s = time.time() - began
    state = (await platform.get(f"/v1/appeals/{appeal['appeal_id']}"))["state"]
    lines.append(f"a reviewer takes it back ({state}); the upload is found again after {back_s:.2f} s")
    return lines, gone_s, back_s


async def _report(
    platform: Platform,
    followed: Followed,
    posts: Sequence[DemoPost],
    decisions: dict[str, Decision],
    run: str,
) -> int:
    """Have readers report a harmful post that was let through; return how many posts came before people by it."""
    missed = [
        post
        for post in posts
        if post.harm is not None and post.post_id in decisions and decisions[post.post_id].action == "allow"
    ]
    if not missed:
        return 0
    post = missed[0]
    for number in range(_REPORTERS):
        await platform.post(
            f"/v1/posts/{post.post_id}/reports", {"reporter_id": _reader(run, number), "harm": post.harm}
        )
    wanted = partial(_decided_as, followed, post.post_id, ("review", "demote", "enforce"))
    await wait_until(wanted, what="the reported post", timeout_s=TIMEOUT_S)
    return 1


async def _review(platform: Platform, posts: Sequence[DemoPost]) -> tuple[int, int]:
    """Review the most important jobs as the posts deserve; return how many, and how many restrictions were lifted."""
    truth = {post.post_id: post.harm for post in posts}
    reviewer = {"reviewer": platform.reviewer}
    reviewed = lifted = 0
    waiting = (await platform.get("/v1/review/jobs?limit=200"))["jobs"]
    # Others wait, too: uploads, and what an earlier demo left.
    for one in [job for job in waiting if job["post_id"] in truth][:_REVIEWS]:
        post_id, job_id = one["post_id"], one["job_id"]
        try:
            job = await platform.post(f"/v1/review/jobs/{job_id}/lease", reviewer)
        except PlatformRefused:
            continue  # somebody has it
        harm = truth[post_id]
        verdict: dict[str, Any] = {"action": "enforce", "harm": harm} if harm else {"action": "allow"}
        await platform.post(
            f"/v1/review/jobs/{job_id}/decision", {**reviewer, **verdict, "reason": "as its label says (demo)"}
        )
        reviewed += 1
        lifted += harm is None and job["decision"]["action"] in ("demote", "enforce")
    return reviewed, lifted


async def _change_policy(platform: Platform, followed: Followed, policy: Path, run: str) -> float:
    """Change the policy's file and write posts until a decision names the new version; return how long that took."""
    before = await asyncio.to_thread(policy.read_text, encoding="utf-8")
    changed = before.replace("factor: 0.3", "factor: 0.29", 1)
    await asyncio.to_thread(policy.write_text, changed, encoding="utf-8")
    began = time.time()
    version = (await asyncio.to_thread(load_policy, policy)).version
    number = 0
    try:
        while time.time() - began < _RELOAD_S:
            post_id = f"demo-{run}-policy-{number}"
            number += 1
            await platform.send(
                "posts", [_created(DemoPost(post_id, f"demo-{run}", "Good morning.", "en", None, True))]
            )
            await wait_until(partial(_all_decided, followed, [post_id]), what=post_id, timeout_s=TIMEOUT_S)
            decision = followed.decisions[post_id][0][1]
            if decision.policy_version == version:
                return decision.decided_at.timestamp() - began
        return time.time() - began
    finally:
        await asyncio.to_thread(policy.write_text, before, encoding="utf-8")


def _auc(posts: Sequence[DemoPost], decisions: dict[str, Decision]) -> dict[str, Auc]:
    """Return the areas under the curves by class, over posts whose texts no model was trained on."""
    found: dict[str, Auc] = {}
    unseen = [post for post in posts if post.unseen and post.post_id in decisions]
    for harm in HARM_CLASSES:
        known = [
            (post.harm == harm, value)
            for post in unseen
            if (value := decisions[post.post_id].scores.get(harm)) is not None
        ]
        labels = [label for label, _ in known]
        if any(labels) and not all(labels):
            values = [value for _, value in known]
            found[harm] = Auc(roc=round(roc_auc(labels, values), 4), pr=round(pr_auc(labels, values), 4), n=sum(labels))
    return found


async def _decided_as(followed: Followed, post_id: str, actions: tuple[str, ...]) -> bool:
    decision = followed.last(post_id)
    return decision is not None and decision.action in actions


async def _is_found(platform: Platform, item: str, media_id: str, wanted: bool) -> bool:
    try:
        answer = await platform.search(media_id=media_id, k=20, min_score=-1.0, include_query=True)
    except PlatformRefused:
        return not wanted  # nothing public shows this image any more
    return (item in answer.items) == wanted


def _created(post: DemoPost, items: Sequence[str] = ()) -> dict[str, Any]:
    return event(
        "post.created",
        post.post_id,
        {
            "post_id": post.post_id,
            "author_id": post.author_id,
            "text": post.text,
            "language": post.language,
            "media_ids": list(post.media_ids),
            "item_ids": list(items),
            "device": "phone",
        },
    )


def _reader(run: str, number: int) -> str:
    return f"demo-{run}-reader-{number}"
