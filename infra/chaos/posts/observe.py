"""Reads what was decided for the verifier: source topics, dead letters, catalogue, decisions, verdicts, audit log."""

from collections.abc import Mapping, Sequence

from core import topics
from core.entries import VERSION_HEADER, Version
from core.moderation import Decision, decode_decision, decode_label, decode_verdict
from core.settings import Settings
from infra.chaos.observe import logged_ids, read_letters
from infra.chaos.posts.model import PostsModel, PostState
from infra.chaos.posts.verifier import PostsObserved, SeenDecision, SeenPost, SeenVerdict
from infra.chaos.stage import POSTS, REACTIONS
from storage.catalogue import Catalogue
from storage.log.reader import read_all
from storage.moderation import ModerationStore, StoredPost
from storage.moderation.decisions import in_force

_SOURCES = (topics.UPLOADS.name, topics.POSTS.name, topics.INTERACTIONS.name)


def observe_posts(
    settings: Settings, model: PostsModel, run: str, items: Mapping[str, bool] | None = None
) -> PostsObserved:
    """Read everything that belongs to a run.

    Args:
        settings: where.
        model: which posts and events to ask about.
        run: what all ids begin with.
        items: whether a search shows each item now, where somebody asked.

    Raises:
        Unavailable: a store did not answer.
    """
    bootstrap = settings.broker.bootstrap or ""
    catalogue = Catalogue.open(settings.catalogue_url, settings.catalogue)
    try:
        store = ModerationStore(catalogue.database)
        ids = sorted(model.posts)
        stored = store.posts(ids)
        history = {post_id: store.decisions_of(post_id) for post_id in ids}
        pointers = [post.decision_id for post in stored.values() if post.decision_id]
        with catalogue.database.reading() as connection:
            of = {one.decision_id: one.of for one in in_force(connection, pointers).values()}
        reactions = store.reactions(ids)
        audit = store.verify_audit()
        return PostsObserved(
            logged=logged_ids(bootstrap, run, _SOURCES),
            letters=read_letters(bootstrap, model.letters, run),
            posts={post_id: _post(post) for post_id, post in stored.items()},
            decisions={post_id: [_decision(one, of) for one in made] for post_id, made in history.items()},
            published=_published(bootstrap, run),
            verdicts=_verdicts(bootstrap, run),
            reactions={
                post_id: {
                    name: getattr(one, name) for name in ("impressions", "likes", "shares", "comments", "reports")
                }
                for post_id, one in reactions.items()
            },
            moderated=frozenset(catalogue.seen(POSTS, sorted(model.written))),
            reacted=frozenset(catalogue.seen(REACTIONS, sorted(model.reacted))),
            labels=_labelled(bootstrap, run),
            outbox=catalogue.outbox_size(),
            audit="" if audit.ok else audit.why,
            items=items or {},
        )
    finally:
        catalogue.close()


def read_decided(settings: Settings, post_ids: Sequence[str]) -> int:
    """Return how many of the posts have a decision. Raises Unavailable."""
    catalogue = Catalogue.open(settings.catalogue_url, settings.catalogue)
    try:
        return sum(
            post.decision_id is not None for post in ModerationStore(catalogue.database).posts(post_ids).values()
        )
    finally:
        catalogue.close()


def _post(post: StoredPost) -> SeenPost:
    state = PostState(
        post.post_id, post.author_id, post.state, post.event_id, post.version.time_us, post.text, post.item_ids
    )
    return SeenPost(state, post.version, post.decision_id)


def _decision(decision: Decision, of: Mapping[str, Version]) -> SeenDecision:
    return SeenDecision(
        decision.decision_id,
        decision.action,
        decision.actor,
        decision.event_id,
        decision.supersedes,
        of.get(decision.decision_id),
        failed=any(reason.rule == "failure" for reason in decision.reasons),
        scored=bool(decision.model_version),
        items=tuple(decision.item_ids),
    )


def _published(bootstrap: str, run: str) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for record in read_all(bootstrap, topics.DECISIONS.name):
        if record.key.startswith(run):
            found.setdefault(record.key, set()).add(decode_decision(record.value or b"").decision_id)
    return {post_id: frozenset(ids) for post_id, ids in found.items()}


def _labelled(bootstrap: str, run: str) -> frozenset[str]:
    records = read_all(bootstrap, topics.LABELS.name)
    return frozenset(decode_label(record.value or b"").decision_id for record in records if record.key.startswith(run))


def _verdicts(bootstrap: str, run: str) -> dict[str, SeenVerdict]:
    """Fold the verdict topic: the greatest version counts, whatever the order of the records."""
    newest: dict[str, tuple[Version, SeenVerdict]] = {}
    for record in read_all(bootstrap, topics.VERDICTS.name):
        if not record.key.startswith(run):
            continue
        if record.value is None:
            version, told = Version.from_header(record.headers[VERSION_HEADER]), SeenVerdict("clear")
        else:
            verdict = decode_verdict(record.value)
            version, told = verdict.version, SeenVerdict(verdict.state, verdict.decision_id)
        if record.key not in newest or version > newest[record.key][0]:
            newest[record.key] = (version, told)
    return {post_id: told for post_id, (_, told) in newest.items()}
