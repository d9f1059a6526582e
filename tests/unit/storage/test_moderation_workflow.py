"""The review workflow in whatever order things happen: machines, reviewers, appeals, expiry, replays, erasure."""

import atexit
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core import topics
from core.entries import VERSION_HEADER, Version
from core.errors import Conflict, Forbidden, InvalidInput
from core.moderation import Decision, decode_verdict
from core.settings import CatalogueSettings
from storage.catalogue import Catalogue
from storage.moderation import ModerationStore, Report, ReviewJob
from storage.moderation.jobs import JobKind, JobState
from tests.moderation_records import NOW, SetClock, a_decision, a_job, a_post, deleted

POSTS = st.sampled_from(["post-1", "post-1", "post-1", "post-2", "post-3"])  # most happens to one
AUTHORS = {"post-1": "author-1", "post-2": "author-1", "post-3": "ada"}
PEOPLE = st.sampled_from(["ada", "ben", "cem"])  # ada is an author, too
MACHINE = st.sampled_from(["allow", "review", "demote", "enforce"])
RESTRICTED = st.sampled_from(["demote", "enforce"])
HUMAN = st.sampled_from(["allow", "demote", "enforce"])
STATES = {"allow": "clear", "review": "clear", "demote": "demoted", "enforce": "enforced"}


@cache
def empty_catalogue() -> Path:
    """A migrated file, to copy: migrating takes longer than a whole example."""
    folder = Path(tempfile.mkdtemp(prefix="riverlight-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "catalogue.db"
    Catalogue.open(f"sqlite:///{path}", CatalogueSettings()).close()
    return path


class Workflow(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="riverlight-test-"))
        shutil.copy(empty_catalogue(), self.folder / "catalogue.db")
        self.clock = SetClock()
        self.catalogue = Catalogue.open(
            f"sqlite:///{self.folder / 'catalogue.db'}", CatalogueSettings(), clock=self.clock
        )
        self.store = ModerationStore(self.catalogue.database, self.clock)
        self.number = 0
        self.words: Counter[str] = Counter()  # by author, of the newest version of each post
        self.done: list[tuple[Callable[[], Any], Any]] = []  # calls that can be repeated, with what they answered
        self.erased = False

    def teardown(self) -> None:
        checked = self.store.verify_audit()
        self.catalogue.close()
        shutil.rmtree(self.folder)
        assert (checked.ok, checked.why) == (True, "")

    def new(self) -> int:
        self.number += 1
        return self.number

    def machine(self, post_id: str, action: str, **changes: Any) -> Decision:
        current = self.store.posts([post_id])[post_id].decision_id if self.store.posts([post_id]) else None
        name = f"decision-{self.new()}"
        author = AUTHORS[post_id]
        return a_decision(name, post_id, action, current, author_id=author, **changes)  # type: ignore[arg-type]

    def waiting(self, *states: JobState) -> list[ReviewJob]:
        return self.store.jobs_of(list(AUTHORS), states)

    def decided(self, job: ReviewJob, reviewer: str, action: str) -> None:
        looked_at = self.store.posts([job.post_id])[job.post_id].version
        made = self.store.decide(job.job_id, reviewer, action, "hate", "looked")
        assert job.seen == looked_at, "they had looked at another version"
        self.done.append((lambda: self.store.decide(job.job_id, reviewer, action, "hate", "looked"), made))

    # --- what happens ----------------------------------------------------------------------------------------------

    @initialize(actions=st.tuples(RESTRICTED, RESTRICTED, MACHINE))
    def posts_are_there(self, actions: tuple[str, ...]) -> None:
        for post_id, action in zip(AUTHORS, actions, strict=True):
            self.a_version_is_posted_and_decided(post_id, action, 3)

    @rule(post_id=POSTS, action=MACHINE, words=st.integers(0, 9))
    def a_version_is_posted_and_decided(self, post_id: str, action: str, words: int) -> None:
        if self.erased and AUTHORS[post_id] == "author-1":
            return  # the account is gone
        version = self.new()
        post = a_post(post_id, version, author_id=AUTHORS[post_id], words=words)
        decision = self.machine(post_id, action)
        wanted = [a_job(post_id, float(words))] if action in ("review", "demote") else []
        before = self.store.posts([post_id]).get(post_id)
        self.store.record("m", [f"event-{version}"], [post], [decision], wanted)
        self.words[AUTHORS[post_id]] += words - (before.words if before else 0)
        self.done.append((lambda: self.store.record("m", [], [post], [decision], wanted).decisions, ()))

    @rule(post_id=POSTS, action=MACHINE, what=st.sampled_from(["look", "stale", "sample", "reopened", "delete"]))
    def a_machine_acts(self, post_id: str, action: str, what: str) -> None:
        if what == "look":
            self.a_machine_looks_again(post_id, action)
        elif what == "stale":
            self.a_machine_decides_from_what_was_before(post_id)
        elif what == "delete":
            self.store.record("m", [], [deleted(post_id, self.new())])
        else:
            self.a_review_is_asked_for(post_id, what)

    def a_machine_looks_again(self, post_id: str, action: str) -> None:
        decision = self.machine(post_id, action)
        post = self.store.posts([post_id]).get(post_id)
        stands = self.store.in_force([post_id]).get(post_id)
        history = self.store.decisions_of(post_id)
        try:
            self.store.record("m", [], [], [decision], [a_job(post_id)] if action == "review" else [])
        except Conflict:
            gone = post is None or post.state == "deleted"
            assert gone or (stands is not None and not stands.automated)
            assert self.store.decisions_of(post_id) == history
        else:
            assert post is not None and post.label is None, "a person's word on this very version was overruled"

    def a_machine_decides_from_what_was_before(self, post_id: str) -> None:
        stale = a_decision(f"decision-{self.new()}", post_id, supersedes="long-gone", author_id=AUTHORS[post_id])
        try:
            self.store.record("m", [], [], [stale])
        except (Conflict, InvalidInput):
            return
        raise AssertionError("a stale decision came into force")

    def a_review_is_asked_for(self, post_id: str, kind: str) -> None:
        job = a_job(post_id, float(self.number % 3), kind=kind, cause=f"cause-{self.new()}")
        try:
            self.store.record("m", [], [], [], [job])
        except Conflict:
            post = self.store.posts([post_id]).get(post_id)
            assert post is None or post.state == "deleted" or post.decision_id is None

    @rule(post_id=POSTS, reader=st.sampled_from(["dora", "emil", "cem"]))
    def a_post_is_reported(self, post_id: str, reader: str) -> None:
        self.store.add_reports([Report(post_id, reader, "hate", NOW)])

    @rule(reviewer=PEOPLE, action=st.one_of(HUMAN, st.none()), kind=st.sampled_from([None, None, "appeal"]))
    def the_next_job_is_taken_and_perhaps_decided(
        self, reviewer: str, action: str | None, kind: JobKind | None
    ) -> None:
        free = {job.job_id for job in self.store.next_jobs(limit=100)}
        job = self.store.lease(reviewer, kind=kind)
        assert job is None or job.job_id in free
        if job is not None and action is not None:
            self.decided(job, reviewer, action)

    @precondition(lambda self: self.waiting("open", "leased", "done", "moot"))
    @rule(reviewer=PEOPLE, data=st.data())
    def a_job_is_taken_by_name(self, reviewer: str, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.waiting("open", "leased", "done", "moot")))
        try:
            assert self.store.lease(reviewer, job.job_id) is not None
        except Conflict:
            holder = job.held_by(self.clock.now())
            assert job.state in ("done", "moot") or holder not in (None, reviewer)
        except Forbidden:
            pass

    @precondition(lambda self: self.waiting("leased"))
    @rule(anybody=PEOPLE, data=st.data(), action=HUMAN, honest=st.integers(0, 3))
    def a_job_is_decided(self, anybody: str, data: st.DataObject, action: str, honest: int) -> None:
        job = data.draw(st.sampled_from(self.waiting("leased")))
        reviewer = (job.reviewer or anybody) if honest else anybody
        holds = job.held_by(self.clock.now()) == reviewer
        try:
            self.decided(job, reviewer, action)
        except (Conflict, Forbidden):
            return
        assert holds

    @precondition(lambda self: self.waiting("leased"))
    @rule(reviewer=PEOPLE, data=st.data())
    def a_job_is_put_back(self, reviewer: str, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.waiting("leased")))
        try:
            self.store.release(job.job_id, reviewer)
        except Conflict:
            assert job.held_by(self.clock.now()) != reviewer

    @rule(
        data=st.data(), text=st.sampled_from(["unfair", "a quote"]), reviewer=st.one_of(PEOPLE, st.none()), action=HUMAN
    )
    def an_author_appeals(self, data: st.DataObject, text: str, reviewer: str | None, action: str) -> None:
        decided = self.store.in_force(list(AUTHORS))
        restricting = [one for one in decided.values() if one.action in ("demote", "enforce")]
        decision = data.draw(st.sampled_from(restricting or list(decided.values())))
        post = self.store.posts([decision.post_id])[decision.post_id]
        try:
            self.store.open_appeal(decision.decision_id, post.author_id, text)
        except (Conflict, InvalidInput):
            return
        assert decision.action in ("demote", "enforce") and decision.actor != "appeal"
        assert post.state == "active"
        [job] = [one for one in self.waiting("open", "leased") if one.kind == "appeal" and one.post_id == post.post_id]
        if reviewer is not None and not job.reviewer:
            try:
                taken = self.store.lease(reviewer, job.job_id)
            except Forbidden:
                return
            assert taken is not None
            self.decided(taken, reviewer, action)

    @rule(minutes=st.sampled_from([1, 16]))
    def time_passes(self, minutes: int) -> None:
        self.clock.pass_(minutes=minutes)

    @precondition(lambda self: bool(self.done))
    @rule(data=st.data())
    def something_is_done_again(self, data: st.DataObject) -> None:
        call, answered = data.draw(st.sampled_from(self.done[-5:]))
        head, size = self.store.audit_head(), self.catalogue.outbox_size()
        try:
            again = call()
        except InvalidInput:
            assert self.erased  # what was posted is under a pseudonym now, or a note is gone
        else:
            assert self.erased or again == answered
        assert self.erased or (self.store.audit_head(), self.catalogue.outbox_size()) == (head, size)

    @rule()
    def an_author_is_erased(self) -> None:
        if self.erased or self.number < 25:
            return  # late, so that something else happens, too
        self.store.erase_user("author-1")
        self.erased = True
        self.words.pop("author-1", None)

    # --- what always holds -----------------------------------------------------------------------------------------

    @invariant()
    def decisions_form_a_chain_whose_end_is_in_force(self) -> None:
        for post_id, post in self.store.posts(list(AUTHORS)).items():
            history = self.store.decisions_of(post_id)
            assert post.decision_id == (history[-1].decision_id if history else None)
            assert [one.supersedes for one in history] == [None, *(one.decision_id for one in history[:-1])][
                : len(history)
            ]
            versions = [one.version for one in history]
            assert versions == sorted(set(versions))

    @invariant()
    def what_is_published_is_what_is_in_force(self) -> None:
        published: dict[str, tuple[Version, Any]] = {}
        for _, record in self.catalogue.outbox_pending(100_000):
            if record.topic != topics.VERDICTS.name:
                continue
            verdict = None if record.value is None else decode_verdict(record.value)
            version = verdict.version if verdict else Version.from_header(record.headers[VERSION_HEADER])
            assert record.key not in published or version > published[record.key][0]
            published[record.key] = version, verdict
        in_force = self.store.in_force(list(AUTHORS))
        for post_id, post in self.store.posts(list(AUTHORS)).items():
            _, verdict = published.get(post_id, (None, None))
            decision = in_force.get(post_id)
            if decision is None or (self.erased and post.author_id.startswith("erased-")):
                assert verdict is None
            elif decision.action in ("demote", "enforce"):  # also when its author has deleted the post
                assert verdict is not None and verdict.decision_id == decision.decision_id
                assert verdict.state == STATES[decision.action]
            else:  # nothing restricts it: nothing was ever said of it, or that it is clear, or that it is gone
                assert verdict is None or verdict.state == "clear"
                assert post.state == "active" or verdict is None

    @invariant()
    def strikes_are_the_enforcements_in_force(self) -> None:
        standing: dict[str, set[str]] = {}
        for post_id, decision in self.store.in_force(list(AUTHORS)).items():
            if decision.action == "enforce":
                standing.setdefault(decision.author_id, set()).add(post_id)
        authors = {post.author_id for post in self.store.posts(list(AUTHORS)).values()} | set(AUTHORS.values())
        for author_id, author in self.store.authors(sorted(authors - {""})).items():
            assert {strike.post_id for strike in author.strikes} == standing.get(author_id, set())
            assert author.facts.violations == len(author.strikes)

    @invariant()
    def counters_are_exact(self) -> None:
        for author_id in set(AUTHORS.values()) - ({"author-1"} if self.erased else set()):
            facts = self.store.authors([author_id])[author_id].facts
            posted = [post for post in self.store.posts_of(author_id) if post.words or post.state == "active"]
            assert sum(post.words for post in posted) == self.words[author_id]
            reports = self.store.reports_of([post.post_id for post in self.store.posts_of(author_id)])
            assert facts.reports_received == sum(len(found) for found in reports.values())

    @invariant()
    def jobs_and_appeals_belong_together(self) -> None:
        waiting = self.store.jobs_of(list(AUTHORS), ("open", "leased"))
        assert max(Counter((job.post_id, job.kind) for job in waiting).values(), default=1) == 1
        posts = self.store.posts(list(AUTHORS))
        assert all(posts[job.post_id].state == "active" for job in waiting)
        appeals = [
            appeal
            for post_id in AUTHORS
            for decision in self.store.decisions_of(post_id)
            for appeal in self.store.appeals_of(decision.decision_id)
        ]
        still_open = {appeal.appeal_id for appeal in appeals if appeal.state == "open"}
        assert still_open == {job.appeal_id for job in waiting if job.kind == "appeal"}
        assert len(still_open) == self.store.count_appeals().get("open", 0)
        for appeal in appeals:
            if appeal.state in ("upheld", "reversed"):
                outcome = self.store.decision(appeal.outcome_id or "")
                assert outcome is not None and outcome.actor_id == appeal.reviewer and not outcome.automated

    @invariant()
    def nobody_reviews_what_is_theirs(self) -> None:
        for post_id in AUTHORS:
            history = {decision.decision_id: decision for decision in self.store.decisions_of(post_id)}
            for decision in history.values():
                if decision.automated:
                    before = history.get(decision.supersedes or "")
                    assert before is None or before.automated or before.version < decision.version
                    continue
                assert decision.actor_id != AUTHORS[post_id]
                if decision.actor == "appeal":
                    assert history[decision.supersedes or ""].actor_id != decision.actor_id

    @invariant()
    def every_job_that_was_done_left_a_label(self) -> None:
        for post_id in AUTHORS:
            done = Counter(job.outcome_id for job in self.store.jobs_of([post_id], ("done",)))
            assert Counter(label.decision_id for label in self.store.labels_of(post_id)) == done


TestWorkflow = Workflow.TestCase
TestWorkflow.settings = settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
