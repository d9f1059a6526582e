"""The whole demo: data, system, uploads, searches, clicks, removals, broken input, report and picture."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from core import topics
from core.access.credentials import credentials
from core.access.roles import GRANTED
from core.clock import SystemClock
from core.errors import Unavailable
from core.ports import OutgoingRecord
from core.settings import Settings
from infra.demo import homepage, interactions, moderation, visual_search
from infra.demo.contact_sheet import SheetRow, draw_contact_sheet
from infra.demo.film_model import served_model
from infra.demo.films import Films, load_films
from infra.demo.images import DemoImages, demo_images
from infra.demo.platform import Answer, Platform, event, wait_until
from infra.demo.posts import demo_posts, install_texts
from infra.demo.report import Interactions, Percentiles, Quality, Report, VisualSearch
from infra.supervisor.control import Status, down, status, up_detached
from models.moderation.policy.load import packaged_policy
from models.recommendation.system import FullSystem
from models.visual_search.model import FrozenLiteEncoder
from storage.log.producer import KafkaPublisher
from streams.dead_letters import list_dead_letters

SHEET_ROWS, SHEET_ANSWERS = 12, 6


@dataclass(frozen=True)
class DemoOptions:
    """How much to play."""

    images: int = 400
    paced: int = 100
    people: int = 5
    clients: int = 2
    removals: int = 20
    viewers: int = 30
    past_ratings: int = 5_000
    posts: int = 300
    keep_running: bool = False
    start_timeout_s: float = 300.0


def run_demo(settings: Settings, options: DemoOptions, console: Console) -> Report:
    """Play the demo against the system of `settings.home`, starting it where it does not run; write the report.

    Raises:
        RiverlightError: naming the step that failed; a system that the demo started is stopped again.
    """
    began = time.perf_counter()
    home = settings.home.resolve()
    folder = home / "demo"
    images = demo_images(home, options.images, lambda line: console.print(f"[dim]data[/]     {escape(line)}"))
    baseline = _frozen_baseline(images, folder, console)
    if settings.moderation.enabled and options.posts:
        install_texts(home, lambda line: console.print(f"[dim]data[/]     {escape(line)}"))
    films = _served_films(home, len(images.pairs) - homepage.NEW_FILMS, console)
    setup_s = time.perf_counter() - began

    started = not status(home).running
    start_began = time.perf_counter()
    policy: Path | None = None
    if started:
        console.print("[dim]start[/]    broker, models, workers, API …")
        settings, policy = _with_policy(settings, folder)
        settings = with_short_promises(settings)
        up_detached(settings, timeout_s=options.start_timeout_s)
    running = status(home)
    start_s = time.perf_counter() - start_began if started else 0.0
    console.print(
        f"[dim]start[/]    {f'ready after {start_s:.1f} s' if started else 'already running'}: {running.urls['http']}"
    )
    try:
        report = asyncio.run(
            _play(running, settings, options, images, baseline, films, policy, folder, console, setup_s, start_s, began)
        )
    finally:
        if started and not options.keep_running:
            console.print("[dim]stop[/]     stopping what the demo started (riverlight up starts it again)")
            down(home)
    report.write(folder / "report.json")
    return report


async def _play(
    running: Status,
    settings: Settings,
    options: DemoOptions,
    images: DemoImages,
    baseline: Quality,
    films: "_ServedFilms | None",
    policy: Path | None,
    folder: Path,
    console: Console,
    setup_s: float,
    start_s: float,
    began: float,
) -> Report:
    run = datetime.now(UTC).strftime("%y%m%d%H%M%S")
    count = len(images.pairs)
    identity = credentials(settings, SystemClock(), subject="riverlight-demo", roles=GRANTED)
    platform = Platform(running.urls["http"], credentials=identity)
    try:
        earlier = _earlier_items(folder)
        if earlier:
            await visual_search.remove_all(platform, earlier)
            console.print(f"[dim]tidy[/]     {len(earlier)} images of the last demo are being deleted")
        with _bar(console) as progress:
            step = _steps(progress)
            advance = step("upload", 2 * count)
            uploaded = await visual_search.upload(platform, images, run=run, paced=options.paced, advance=advance)
            _remember_items(folder, uploaded.items)
            searchable = await visual_search.count_searchable(platform, uploaded)
            answers, latency = await visual_search.query(
                platform, images, run=run, clients=options.clients, advance=step("search", count)
            )
            audience = interactions.look_at(answers, uploaded.items, run=run, people=options.people, seed=7)
            advance = step("click", len(audience.events))
            per_s, exact = await interactions.play(platform, audience, advance)
            gone = await visual_search.take_out(
                platform, uploaded, count=options.removals, seed=7, advance=step("hide, delete", options.removals)
            )
            dead = await _send_broken(running.urls["broker"], run)
            recommendation = None
            if films is not None:
                recommendation = await homepage.play(
                    platform,
                    films.films,
                    films.system,
                    uploaded.media,
                    label=films.label,
                    run=run,
                    people=options.viewers,
                    past=options.past_ratings,
                    advance=step("recommend", options.viewers),
                )
            judged = None
            if settings.moderation.enabled and options.posts:
                posts = demo_posts(
                    settings.home.resolve(),
                    run,
                    uploaded.media,
                    options.posts,
                )
                shown_at = await _one_that_is_there(platform, uploaded.items)
                judged = await moderation.play(
                    platform,
                    running.urls["broker"],
                    posts,
                    run=run,
                    item=uploaded.items[shown_at],
                    media_id=uploaded.media[shown_at],
                    owner=visual_search.owner(run),
                    policy=policy,
                    advance=step("moderate", len(posts)),
                )
        sheet = folder / "contact-sheet.png"
        _draw(sheet, images, uploaded.items, answers)
        shown = max(audience.clicks, key=lambda item: audience.clicks[item]) if audience.clicks else uploaded.items[0]
        features = await interactions.item_features(platform, shown)
    finally:
        await platform.close()
    broker = running.broker or {}
    return Report(
        broker={"kind": broker.get("kind"), "durable": broker.get("durable")},
        setup_s=round(setup_s, 1),
        start_s=round(start_s, 1),
        visual_search=VisualSearch(
            data=images.description,
            uploaded=count,
            searchable=searchable,
            freshness_s=Percentiles.of(uploaded.freshness_s),
            gone_s=Percentiles.of(gone),
            queries=len(answers),
            latency_s=latency,
            quality=visual_search.quality(answers, uploaded.items),
            frozen_baseline=baseline,
        ),
        interactions=Interactions(events=len(audience.events), per_s=round(per_s, 1), exact=exact),
        dead_letters=dead,
        features=features,
        recommendation=recommendation,
        moderation=judged,
        metrics_url=running.urls["metrics"],
        console_url=running.urls["console"],
        contact_sheet=str(sheet),
        seconds=round(time.perf_counter() - began, 1),
    )


def with_short_promises(settings: Settings) -> Settings:
    """Return settings whose promises to new videos end within the demo, so that it can tell how many were kept."""
    promised = {"promised_impressions": homepage.PROMISED, "promise_hours": homepage.PROMISE_S / 3600}
    if promised.keys() & settings.recommendation.model_fields_set:
        return settings
    return settings.model_copy(update={"recommendation": settings.recommendation.model_copy(update=promised)})


def _with_policy(settings: Settings, folder: Path) -> tuple[Settings, Path | None]:
    """Return settings that go by a copy of the default policy, which the demo may change; else None for the file."""
    if settings.moderation.policy is not None or not settings.moderation.enabled:
        return settings, None
    path = (folder / "policy.yaml").resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packaged_policy())
    return settings.model_copy(update={"moderation": settings.moderation.model_copy(update={"policy": path})}), path


async def _one_that_is_there(platform: Platform, items: Sequence[str]) -> int:
    """Return the number of an item that was neither hidden nor deleted."""
    for number, item in enumerate(items):
        found = await platform.get(f"/v1/items/{item}")
        if found["state"] == "active" and found["indexed"]:
            return number
    raise Unavailable("every upload of the demo is hidden or deleted")


@dataclass(frozen=True)
class _ServedFilms:
    """Films to play, and the system that recommends them."""

    films: Films
    system: FullSystem
    label: str


def _served_films(home: Path, count: int, console: Console) -> _ServedFilms | None:
    """Have a system fitted to the films' past that is champion; None where that cannot be, which is said."""

    def say(line: str) -> None:
        console.print(f"[dim]data[/]     {escape(line)}")

    films = load_films(home, count, say)
    served = served_model(home, films, say) if films is not None else None
    if films is None or served is None:
        return None
    system, version = served
    return _ServedFilms(films, system, version.label)


def _frozen_baseline(images: DemoImages, folder: Path, console: Console) -> Quality:
    """Measure the backbone without our training, by exact search; kept from run to run for the same images."""
    hashed = hashlib.sha256()
    for pair in images.pairs:
        hashed.update(pair.upload_bytes() + pair.query_bytes())
    cache = folder / f"frozen-baseline-{hashed.hexdigest()[:16]}.json"
    if cache.is_file():
        return Quality(**json.loads(cache.read_text(encoding="utf-8")))
    encoder = FrozenLiteEncoder()
    with _bar(console) as progress:
        advance = _steps(progress)("frozen baseline", 2 * len(images.pairs))
        vectors: dict[str, list[NDArray[np.float32]]] = {"item": [], "query": []}
        for start in range(0, len(images.pairs), 16):
            batch = images.pairs[start : start + 16]
            vectors["item"].append(encoder.encode([pair.item_pixels() for pair in batch]))
            vectors["query"].append(encoder.encode([pair.query_pixels() for pair in batch]))
            advance(2 * len(batch))
    quality = visual_search.exact_quality(np.vstack(vectors["item"]), np.vstack(vectors["query"]))
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps(asdict(quality)), encoding="utf-8")
    return quality


async def _send_broken(bootstrap: str, run: str) -> int:
    """Put broken records straight into Kafka, wait for their dead letters, and return how many there are."""
    missing = event(
        "upload.created",
        f"broken-{run}",
        {"item_id": f"broken-{run}", "owner_id": "demo", "kind": "image", "media_id": hashlib.sha256(b"").hexdigest()},
    )
    # Their bytes name the run: the same bytes again are the same dead letter.
    frame = json.dumps([f"no event of {run}", f"nor is this one of {run}"]).encode()
    broken = (f'{{"id": "cut off {run}'.encode(), frame, json.dumps(missing).encode())
    publisher = KafkaPublisher(bootstrap, Settings().producer, client_id="riverlight-demo")

    async def letters() -> int:
        found = await asyncio.to_thread(list_dead_letters, bootstrap, topics.UPLOADS.name)
        return len(found)

    try:
        before = await letters()
        await publisher.publish([OutgoingRecord(topics.UPLOADS.name, f"broken-{run}", value) for value in broken])
    finally:
        await asyncio.to_thread(publisher.close)
    expected = before + 4  # the frame holds two events, neither of which is one

    async def all_there() -> bool:
        return await letters() >= expected

    await wait_until(all_there, what="dead letters", timeout_s=60, every_s=0.3)
    return await letters() - before


def _draw(path: Path, images: DemoImages, items: Sequence[str], answers: Sequence[Answer]) -> None:
    pictures = {item: pair.item.path for item, pair in zip(items, images.pairs, strict=True)}
    stride = max(1, len(answers) // SHEET_ROWS)
    rows = []
    for number in range(0, len(answers), stride)[:SHEET_ROWS]:
        answer, pair = answers[number], images.pairs[number]
        found = answer.items[:SHEET_ANSWERS]
        rows.append(
            SheetRow(
                title=pair.query.title,
                query=pair.query.path,
                answers=[pictures[item] for item in found],
                scores=answer.scores[: len(found)],
                right=[item == items[number] for item in found],
            )
        )
    draw_contact_sheet(rows, path, heading=f"Query, then answers: {images.description}")


def _earlier_items(folder: Path) -> list[str]:
    file = folder / "items.json"
    return list(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else []


def _remember_items(folder: Path, items: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "items.json").write_text(json.dumps(list(items)), encoding="utf-8")


def _steps(progress: Progress) -> Callable[[str, int], visual_search.Advance]:
    """Return a function that begins a step and returns what moves its bar."""

    def begin(name: str, total: int) -> visual_search.Advance:
        task: TaskID = progress.add_task(name, total=total)
        return lambda done: progress.advance(task, done)

    return begin


@contextmanager
def _bar(console: Console) -> Iterator[Progress]:
    columns = (TextColumn("[dim]{task.description:<16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        yield progress
