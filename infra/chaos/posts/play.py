"""What the goals about posts have in common: the parts that take part, and the steps before and after things break."""

import time
import zlib
from collections.abc import Callable

import httpx

from core.errors import ConfigurationError, Unavailable
from infra.chaos.answers import Question, ask
from infra.chaos.posts.ledger import PostLedger, PostPlan, write_posts
from infra.chaos.posts.model import PostsModel
from infra.chaos.posts.observe import observe_posts, read_decided
from infra.chaos.posts.verifier import PostsObserved, verify_posts
from infra.chaos.processes import Part
from infra.chaos.replicas import replica_pids
from infra.chaos.stage import POSTS, REACTIONS, READY_S, UPLOADS, Stage
from infra.chaos.verifier import Verdict
from monitoring.canary import canary_image

MODERATOR = "moderator"
ITEMS = 20
_WATCHER = "somebody-who-watches"


def open_parts(stage: Stage) -> Part:
    """Start what scores, decides and answers; return the serving part.

    Raises:
        ConfigurationError: what embeds images was left out, and with it the moderator and the gateway.
        Unavailable: something did not become ready.
    """
    serve = stage.encoder()
    if serve is None:
        raise ConfigurationError("there is no moderator and no gateway (--no-uploads)")
    wait_moderator(stage, serve)
    stage.worker("content", (UPLOADS, POSTS, REACTIONS)).wait_ready(READY_S)
    return serve


def wait_moderator(stage: Stage, serve: Part, timeout_s: float = 180) -> list[int]:
    """Wait until a post is scored; return the process ids of the moderator's replicas. Raises Unavailable."""
    begun = time.monotonic()
    why = "nobody was asked"
    body = {"post_id": f"{stage.run}-probe", "text": "Good morning."}
    with httpx.Client(base_url=stage.http_url, timeout=15, trust_env=False) as client:
        while time.monotonic() - begun < timeout_s:
            try:
                answer = client.post("/v1/moderation/score", json=body)
                why = f"{answer.status_code} {answer.text[:300]}"
                if answer.is_success and answer.json()["failure"] is None:
                    return replica_pids(serve, MODERATOR)
            except httpx.HTTPError as error:
                why = repr(error)
            time.sleep(0.25)
    raise Unavailable(f"the moderator did not score within {timeout_s:g} s: {why}")


def begin(stage: Stage, plan: PostPlan) -> PostLedger:
    """Write the ledger of a run, and have its uploads indexed and the posts of its first half decided."""
    # Of a run's own: a search shows one of two items with the same picture, and runs may share a broker.
    first = zlib.crc32(stage.run.encode())
    media = stage.store([canary_image(first + number) for number in range(plan.items)])
    ledger = write_posts(stage.seed, stage.run, plan, start=stage.start_of_events, media_ids=media)
    stage.produce([*ledger.uploads, *ledger.first]).wait(60)
    ids = sorted(ledger.model(whole=False).posts)
    deadline = time.monotonic() + 120
    while (decided := read_decided(stage.settings, ids)) < len(ids):
        if time.monotonic() > deadline:
            raise Unavailable(f"{decided} of the first {len(ids)} posts were decided within 120 s")
        time.sleep(0.3)
    stage.wait_lag(0, 60)
    stage.timeline.add(f"{len(ids)} posts are decided")
    return ledger


def questions(ledger: PostLedger) -> Callable[[int], Question]:
    """Return searches, and every other time a homepage."""
    media = list(ledger.media.values())

    def question(number: int) -> Question:
        if number % 2 or not media:
            return Question("homepage", "GET", f"/v1/recommendations/{_WATCHER}?k=100")
        return _search(media[number // 2 % len(media)])

    return question


def judge(
    stage: Stage, ledger: PostLedger, model: PostsModel, timeout_s: float, *, required: frozenset[str] | None = None
) -> tuple[Verdict, PostsObserved]:
    """Wait until all is as it must be, or the time is over, and judge then."""
    seen: list[PostsObserved] = []

    def look() -> Verdict:
        seen.append(observe_posts(stage.settings, model, stage.run))
        return verify_posts(model, seen[-1], required=required)

    verdict = stage.until_clean(look, timeout_s)
    if not verdict.clean:
        return verdict, seen[-1]
    time.sleep(1.5)  # an answer has a second to obey the last verdict
    last = observe_posts(stage.settings, model, stage.run, _items_now(stage, ledger))
    return verify_posts(model, last, required=required), last


def without_scores(seen: PostsObserved) -> int:
    """Return how many decisions were made although nothing was scored."""
    return sum(one.failed for history in seen.decisions.values() for one in history)


def _items_now(stage: Stage, ledger: PostLedger) -> dict[str, bool]:
    """Return, by item, whether a search for its own picture shows it."""
    with httpx.Client(base_url=stage.http_url, timeout=15, trust_env=False) as client:
        return {item: item in ask(client, _search(media_id)).items for item, media_id in ledger.media.items()}


def _search(media_id: str) -> Question:
    body = {"media_id": media_id, "k": 100, "min_score": -1.0, "include_query": True}
    return Question("search", "POST", "/v1/search/images", body)
