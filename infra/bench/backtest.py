"""How long another policy takes to be tried on many stored posts: read from the catalogue, decided, counted."""

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from core.entries import Version
from core.moderation import HARM_CLASSES, AuthorFacts, PostScores, PostToScore, ReactionFacts
from core.settings import CatalogueSettings
from infra.bench.moderation_posts import texts
from infra.bench.result import Benchmark, BenchOptions, BenchResult, Measurement, bar
from infra.moderation_history import rows
from models.moderation.judging import Facts, Judgement, judge
from models.moderation.policy import Policy, load_policy, packaged_policy, parse_policy
from models.moderation.policy.backtest import backtest
from storage.catalogue import Catalogue
from storage.moderation import ModerationStore, NewJob, StoredPost, Told

BAR_S = 60.0
_RECORDED_AT_ONCE = 500
_START = datetime(2026, 11, 1, tzinfo=UTC)


def run(options: BenchOptions) -> BenchResult:
    """Store posts with decisions of the packaged policy, then try a stricter one on all of them."""
    n = 2_000 if options.quick else 100_000
    repeats = 1 if options.quick else options.repeats
    path = options.folder / "backtest.db"
    path.unlink(missing_ok=True)
    try:
        catalogue = Catalogue.open(f"sqlite:///{path}", CatalogueSettings())
        store = ModerationStore(catalogue.database)
        try:
            stored_s = _store(store, load_policy(), n)
            options.report(f"{n:,} posts stored in {stored_s:.0f} s")
            tried = parse_policy(packaged_policy().replace(b"review: 0.5", b"review: 0.4"), source="stricter")
            whole, reading, changed = [], [], 0
            for turn in range(repeats):
                began = time.perf_counter()
                found = backtest(tried, rows(store, _START))
                whole.append(time.perf_counter() - began)
                began = time.perf_counter()
                read = sum(1 for _ in rows(store, _START))
                reading.append(time.perf_counter() - began)
                if found.posts != n or read != n:
                    raise AssertionError(f"{found.posts} and {read} posts were read, {n} are stored")
                changed = sum(n for now, then in found.changes.items() for to, n in then.items() if to != now)
                options.report(f"round {turn + 1}: {whole[-1]:.1f} s, of which {reading[-1]:.1f} s to read them")
        finally:
            catalogue.close()
    finally:
        _remove(path)
    measurements = (
        Measurement(f"backtest of {n:,} stored posts", "s", "lower", tuple(whole)),
        Measurement("of it: reading them from the catalogue", "s", "lower", tuple(reading)),
        Measurement("storing them with their decisions", "s", "lower", (stored_s,)),
    )
    return BenchResult(
        name="backtest",
        title=f"Another policy tried on {n:,} stored posts",
        command="riverlight bench run backtest",
        measurements=measurements,
        bars=(bar(measurements, measurements[0].name, BAR_S),),
        details={"posts": n, "changed": changed},
        notes=(
            "SQLite, one thread. Posts have texts of one sentence, made-up scores (a tenth with a harmful one),"
            f" authors with history and reactions; the packaged policy decided about them, and one that reviews from .4"
            f" on is tried, which decides {changed:,} posts otherwise.",
        ),
    )


BENCHMARK = Benchmark("backtest", "another policy tried on 100,000 stored posts", run)


def _store(store: ModerationStore, policy: Policy, n: int) -> float:
    began = time.perf_counter()
    judged = _judged(policy, n)
    while some := list(islice(judged, _RECORDED_AT_ONCE)):
        posts = [post for post, _ in some]
        decisions = [one.decision for _, one in some if one.decision is not None]
        told = {
            one.decision.decision_id: Told(one.facts.post.author, one.facts.post.reactions)
            for _, one in some
            if one.decision is not None
        }
        jobs = [
            NewJob(post.post_id, "decision", one.priority, "bench", harm=one.outcome.harm)
            for post, one in some
            if one.outcome.action in ("review", "demote")
        ]
        store.record("bench", [post.event_id for post in posts], posts, decisions, jobs, told=told)
    return time.perf_counter() - began


def _judged(policy: Policy, n: int) -> Iterator[tuple[StoredPost, Judgement]]:
    draw = random.Random(20261122)
    for number, text in enumerate(islice(texts(2), n)):
        post_id, at = f"post-{number}", _START + timedelta(seconds=number)
        author_id = f"author-{number % 5_000}"
        harmful = draw.choice(HARM_CLASSES) if draw.random() < 0.1 else None
        scores = {
            harm: round(draw.betavariate(6, 2) if harm == harmful else draw.betavariate(1, 30), 4)
            for harm in HARM_CLASSES
        }
        author = AuthorFacts(
            violations=draw.randrange(3), posts=draw.randrange(400), country="DE", account_age_days=90.0
        )
        reactions = ReactionFacts(impressions=draw.randrange(5_000), likes=draw.randrange(100))
        post = PostToScore(post_id=post_id, text=text, posted_at=at, author=author, reactions=reactions)
        scored = PostScores(
            post_id=post_id,
            scores=dict(scores),
            signals={"obfuscation": 0.0, "length": float(len(text)), "links": 0.0, "media": 0.0, "words": 20.0},
            language="en",
            model_version="moderation/bench",
        )
        facts = Facts(post=post)
        judgement = judge(policy, facts, scored, [], now=at, author_id=author_id, event_id=f"event-{number}")
        stored = StoredPost(post_id, author_id, at, Version(number + 1, 0), f"event-{number}", text=text, words=20)
        yield stored, judgement


def _remove(path: Path) -> None:
    for left in path.parent.glob(f"{path.name}*"):
        left.unlink(missing_ok=True)
