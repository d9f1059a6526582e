"""How soon what people did has taught the model that answers: 10,000 interactions, from the collector to new weights.

A whole system runs with a recommender fitted to the past of MovieLens 100K, and `riverlight learn recommendation
--follow` beside it. The future is told through the collector; the time ends when the gateway answers by the version
that was made of it.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import Unavailable
from core.settings import Settings
from core.settings.recommendation import SERVED_MODEL
from infra.bench.result import Benchmark, BenchOptions, BenchResult, Measurement, bar
from infra.bench.system import running_system, scratch_home, scratch_settings
from infra.demo.film_model import served_model
from infra.demo.films import Films, Rating, load_films
from infra.demo.homepage import PER_CALL, profile_told, rated, uploaded
from infra.demo.platform import Platform, wait_until
from infra.runtime import settings_environment
from models.registry.packaged import open_registry
from monitoring.canary import canary_image

BAR_S = 60.0
TIMEOUT_S = 300.0
_RUN = "bench"


@dataclass(frozen=True)
class _Size:
    films: int
    events: int  # of a round
    rounds: int


FULL, QUICK = _Size(600, 10_000, 1), _Size(60, 1_000, 1)


@dataclass(frozen=True)
class _Round:
    """Seconds since the last interaction was taken, and what came of it."""

    registered_s: float
    serving_s: float
    learned: dict[str, Any]


def run(options: BenchOptions) -> BenchResult:
    """Start a system, tell it a future, and wait. Raises Unavailable without the data, or when nothing is learned."""
    size = QUICK if options.quick else FULL
    rounds: list[_Round] = []
    for number in range(1 if options.quick else options.repeats):
        with scratch_home() as home:
            films = load_films(home, size.films, options.report)
            if films is None:
                raise Unavailable("there is no data to learn from")
            served = served_model(home, films, options.report)
            assert served is not None  # in a home of its own nobody else's model answers
            settings = scratch_settings(home)
            with running_system(settings) as system:
                rounds.append(asyncio.run(_play(settings, system.urls, films, served[1].label, size, options.report)))
        last = rounds[-1]
        options.report(
            f"round {number + 1}: registered after {last.registered_s:.1f} s, serving after {last.serving_s:.1f} s; "
            f"{'promoted' if last.learned['promoted'] else 'held'}: {last.learned['reason']}"
        )
    measured = f"{size.events:,} interactions taken → new weights serving"
    measurements = (
        Measurement(measured, "s", "lower", tuple(one.serving_s for one in rounds)),
        Measurement(
            "of it: until the version is registered and judged", "s", "lower", tuple(one.registered_s for one in rounds)
        ),
    )
    held = sum(not one.learned["promoted"] for one in rounds)
    return BenchResult(
        name="learning",
        title="From interactions to new weights that answer",
        command="riverlight bench run learning",
        measurements=measurements,
        bars=(bar(measurements, measured, BAR_S),),
        details={"rounds": [one.learned for one in rounds]},
        notes=(
            f"{size.films} films of MovieLens 100K at most, the demo's small system of two towers, neighbours and "
            "ranker, fitted to the first 80 % of the ratings; then the next ones: likes, dislikes and what was watched "
            f"in part, {PER_CALL:,} a call of the collector. `riverlight learn recommendation --follow` was running "
            "before. Each round has a fresh system.",
            "Time is from the collector's last answer. In it are the way through the log, training on the older four "
            "fifths of what is fresh, the comparison of both versions on the newest fifth, registering, and the "
            "gateway's loading.",
            "The gate let every version through."
            if not held
            else f"The gate held {held} of {len(rounds)} versions; these were promoted by hand to see them served.",
        ),
    )


BENCHMARK = Benchmark("learning", "10,000 interactions → weights that learned from them answer", run)


async def _play(
    settings: Settings, urls: dict[str, str], films: Films, label: str, size: _Size, report: Callable[[str], None]
) -> _Round:
    platform = Platform(urls["http"])
    try:
        await _served(platform, label)
        future = films.future[: size.events]
        await _describe(platform, films, future)
        with _Learning(settings, urls["broker"], len(future)) as learner:
            await asyncio.to_thread(learner.wait_until_following)
            report(f"telling {len(future):,} interactions")
            now = time.time()
            told = [rated(one, _RUN, now - 1e-3 * (len(future) - place)) for place, one in enumerate(future)]
            for start in range(0, len(told), PER_CALL):
                await platform.send("interactions", told[start : start + PER_CALL])
            taken = time.monotonic()
            learned = await asyncio.to_thread(learner.result)
        registered_s = time.monotonic() - taken
        if not learned["promoted"]:
            open_registry(settings.home).promote(SERVED_MODEL, learned["version"])
        await _served(platform, f"{SERVED_MODEL}/{learned['version']}")
        return _Round(registered_s, time.monotonic() - taken, learned)
    finally:
        await platform.close()


async def _served(platform: Platform, label: str) -> None:
    async def answers() -> bool:
        model = (await platform.get("/v1/recommender"))["model"]
        return model is not None and model["version"] == label

    await wait_until(answers, what=f"{label} answering", timeout_s=TIMEOUT_S, every_s=0.1)


async def _describe(platform: Platform, films: Films, future: Sequence[Rating]) -> None:
    """Upload the films and say who the people are."""
    now = time.time()
    media = [await platform.upload_media("a.png", canary_image(number)) for number in range(len(films.films))]
    uploads = [uploaded(film, media_id, now - 60) for film, media_id in zip(films.films, media, strict=True)]
    for start in range(0, len(uploads), 100):
        await platform.send("uploads", uploads[start : start + 100])
    people = sorted({one.user for one in future})
    await platform.send("users", [profile_told(user, films.people[user], _RUN) for user in people])
    last = films.films[-1].item_id

    async def known() -> bool:
        return bool((await platform.get("/v1/recommender"))["log"]["videos"] >= len(films.films))

    await wait_until(known, what=f"{last} known", timeout_s=TIMEOUT_S, every_s=0.2)


class _Learning:
    """The command that learns, as a process of its own until the block ends."""

    def __init__(self, settings: Settings, broker: str, events: int) -> None:
        arguments = ["learn", "recommendation", "--follow", "--rounds", "1", "--min-events", str(events)]
        self._log = (settings.home / "learning.log").open("w+")
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from infra.cli.main import main; main()",
                *arguments,
                "--broker",
                broker,
                "--output",
                "json",
            ],
            env=settings_environment(settings),
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def __enter__(self) -> "_Learning":
        return self

    def __exit__(self, *problem: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()

    def wait_until_following(self) -> None:
        """Return when it reads the log. Raises Unavailable when it ended before."""
        deadline = time.monotonic() + TIMEOUT_S
        while "following the interactions" not in self._said():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"`riverlight learn` does not follow: {self._said()[-500:]}")
            time.sleep(0.2)

    def result(self) -> dict[str, Any]:
        """Return what it says of its round. Raises Unavailable when it makes none."""
        out, _ = self._process.communicate(timeout=TIMEOUT_S)
        if self._process.returncode or not out.strip():
            raise Unavailable(f"`riverlight learn` made no round: {self._said()[-500:]}")
        made: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
        return made

    def _said(self) -> str:
        return Path(self._log.name).read_text()
