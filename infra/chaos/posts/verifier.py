"""Compares what was decided with what must have been. Pure: `observe` reads, this judges.

An effect is a post in the catalogue, the decision in force for it, its record in each of two topics, a reaction's
count, a person's word, an event in the inbox of its agent, and an entry of the audit log.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.entries import Version
from infra.chaos.posts.model import RESTRICTING, PostsModel, PostState
from infra.chaos.verifier import Letter, Verdict, judge_letters

PEOPLE = ("reviewer", "appeal")


@dataclass(frozen=True)
class SeenPost:
    """A row of the catalogue: the post, its version, and which decision is in force."""

    state: PostState
    version: Version
    decision_id: str | None


@dataclass(frozen=True)
class SeenDecision:
    """A decision. `of`: the version of the post it is about; `failed`: it was made because nothing was scored."""

    decision_id: str
    action: str
    actor: str
    event_id: str  # what caused it
    supersedes: str | None
    of: Version | None = None
    failed: bool = False
    scored: bool = True
    items: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeenVerdict:
    """The newest word of the verdict topic about a post; a tombstone clears."""

    state: str  # clear, demoted, enforced
    decision_id: str = ""


@dataclass(frozen=True)
class PostsObserved:
    """What was read."""

    logged: frozenset[str]
    letters: Mapping[str, Letter]
    posts: Mapping[str, SeenPost]
    decisions: Mapping[str, Sequence[SeenDecision]]  # by post, oldest first
    published: Mapping[str, frozenset[str]]  # by post, ids of the decisions in their topic
    verdicts: Mapping[str, SeenVerdict]
    reactions: Mapping[str, Mapping[str, int]]
    moderated: frozenset[str]  # events in the inbox of moderate-posts
    reacted: frozenset[str]  # and in that of post-reactions
    labels: frozenset[str] = frozenset()  # the decisions that the topic of labels tells of
    outbox: int = 0
    audit: str = ""  # what is wrong with the log; empty: it is whole
    items: Mapping[str, bool] = field(default_factory=dict)  # whether a search shows the item now; empty: nobody asked


def verify_posts(model: PostsModel, seen: PostsObserved, *, required: frozenset[str] | None = None) -> Verdict:
    """Judge what was read against the model. `required`: ids that the source topics must hold; default: all."""
    verdict = Verdict()
    for event_id in sorted((model.events if required is None else required) - seen.logged):
        verdict.add("lost", f"{event_id}: acknowledged, and not in the source topic")
    judge_letters(model.letters, seen.letters, verdict)
    for agent, wanted, found in (
        ("moderate-posts", model.written, seen.moderated),
        ("post-reactions", model.reacted, seen.reacted),
    ):
        for event_id in sorted(wanted - found):
            verdict.add("lost", f"{event_id}: the inbox of {agent} does not know it")
    for post_id, state in model.posts.items():
        _post(model, state, seen, verdict)
        _history(post_id, model, seen, verdict)
        _published(post_id, seen, verdict)
        _verdict(post_id, seen, verdict)
        _reactions(post_id, model, seen, verdict)
    for post_id in sorted({*seen.posts, *seen.published, *seen.verdicts} - set(model.posts)):
        verdict.add("unexpected", f"{post_id}: in catalogue or log, and nobody wrote it")
    _items(model, seen, verdict)
    if seen.outbox:
        verdict.add("lost", f"{seen.outbox} records wait in the outbox, and nobody sends them", seen.outbox)
    if seen.audit:
        verdict.add("wrong", f"the audit log: {seen.audit}")
    return verdict


def shown(model: PostsModel, seen: PostsObserved) -> dict[str, bool]:
    """Return, by item, whether the decisions in force let it be shown: no post of its owner with it is enforced."""
    enforced = {
        (item, post.state.author_id)
        for post in seen.posts.values()
        if (decision := _in_force(post, seen)) is not None and decision.action == "enforce"
        for item in decision.items
    }
    return {item: (item, owner) not in enforced for item, owner in model.owners.items()}


def _in_force(post: SeenPost, seen: PostsObserved) -> SeenDecision | None:
    history = seen.decisions.get(post.state.post_id, ())
    return next((one for one in history if one.decision_id == post.decision_id), None)


def _post(model: PostsModel, wanted: PostState, seen: PostsObserved, verdict: Verdict) -> None:
    post = seen.posts.get(wanted.post_id)
    if post is None:
        verdict.add("lost", f"{wanted.post_id}: not in the catalogue, should be {wanted.state}")
        return
    if different := _difference(post.state, wanted):
        verdict.add("wrong", f"{wanted.post_id}: in the catalogue {different}")
        return
    if wanted.state == "deleted":
        return
    decision = _in_force(post, seen)
    if decision is None:
        verdict.add("lost", f"{wanted.post_id}: no decision is in force")
        return
    told = model.reviewed.get(wanted.post_id)
    if told is not None:
        if decision.actor not in PEOPLE or decision.action != told:
            said = f"{decision.action} by {decision.actor}"
            verdict.add("lost", f"{wanted.post_id}: a person was told that {told} is in force; it is {said}")
        return
    if decision.of is not None and decision.of != post.version:
        verdict.add("wrong", f"{wanted.post_id}: the decision in force is about version {decision.of}")
    elif decision.failed:
        verdict.add("wrong", f"{wanted.post_id}: still {decision.action} because something failed")
    elif decision.action not in model.allowed(wanted):
        verdict.add("wrong", f"{wanted.post_id}: {decision.action} of “{wanted.text[:30]}”")


def _history(post_id: str, model: PostsModel, seen: PostsObserved, verdict: Verdict) -> None:
    history, labels = seen.decisions.get(post_id, ()), seen.labels
    before: str | None = None
    causes = Counter(one.event_id for one in history if one.event_id in model.written)
    for one in history:
        if one.supersedes != before:
            verdict.add("twice", f"{post_id}: decision {one.decision_id} supersedes {one.supersedes}, not {before}")
        if one.actor in PEOPLE and one.decision_id not in labels:
            verdict.add("lost", f"{post_id}: no label tells of {one.decision_id}, which a person made")
        if one.actor == "model" and one.action == "allow" and (one.failed or not one.scored):
            verdict.add("wrong", f"{post_id}: let through by {one.decision_id} without scores")
        before = one.decision_id
    for event_id, number in causes.items():
        if number > 1:
            verdict.add("twice", f"{post_id}: {number} decisions because of {event_id}", number - 1)


def _published(post_id: str, seen: PostsObserved, verdict: Verdict) -> None:
    made = {one.decision_id for one in seen.decisions.get(post_id, ())}
    told = seen.published.get(post_id, frozenset())
    for decision_id in sorted(made - told):
        verdict.add("lost", f"{post_id}: decision {decision_id} is not in its topic")
    for decision_id in sorted(told - made):
        verdict.add("unexpected", f"{post_id}: decision {decision_id} was published, and is not in the catalogue")


def _verdict(post_id: str, seen: PostsObserved, verdict: Verdict) -> None:
    post = seen.posts.get(post_id)
    decision = _in_force(post, seen) if post is not None else None
    told = seen.verdicts.get(post_id, SeenVerdict("clear"))
    wanted = {"enforce": "enforced", "demote": "demoted"}.get(decision.action if decision is not None else "", "clear")
    if told.state != wanted:
        verdict.add("wrong", f"{post_id}: the verdict topic says {told.state}, the catalogue {wanted}")
    elif decision is not None and decision.action in RESTRICTING and told.decision_id != decision.decision_id:
        verdict.add("wrong", f"{post_id}: the verdict is of {told.decision_id}, in force is {decision.decision_id}")


def _reactions(post_id: str, model: PostsModel, seen: PostsObserved, verdict: Verdict) -> None:
    wanted, found = model.reactions.get(post_id, Counter()), seen.reactions.get(post_id, {})
    for name in ("impressions", "likes", "shares", "comments", "reports"):
        missing = wanted[name] - found.get(name, 0)
        if missing:
            text = f"{post_id}: {found.get(name, 0)} {name}, should be {wanted[name]}"
            verdict.add("lost" if missing > 0 else "twice", text, abs(missing))


def _items(model: PostsModel, seen: PostsObserved, verdict: Verdict) -> None:
    if not seen.items:
        return
    for item, is_open in shown(model, seen).items():
        if seen.items.get(item, False) != is_open:
            says = "a search shows it, and a post with it is enforced" if not is_open else "no search shows it any more"
            verdict.add("wrong", f"{item}: {says}")


def _difference(found: PostState, wanted: PostState) -> str:
    names = [name for name in PostState.__dataclass_fields__ if getattr(found, name) != getattr(wanted, name)]
    if wanted.state == "deleted" and not found.author_id:  # it came and went at once: nobody knows whose it was
        names = [name for name in names if name != "author_id"]
    return ", ".join(f"{name} {getattr(found, name)!r}, should be {getattr(wanted, name)!r}" for name in names)
