"""Recommendations from outside: the past told as events, the future replayed, and the answers judged by what came.

Each person's homepage is asked for now and then, before what they did next is sent. An answer is judged by what the
person liked from then on: live, with all they did told so far; and `frozen`, the order answered before anything of the
replay was told, without what was seen since. Offline models are asked about the same moments with the same history.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.demo.films import DISLIKED, LIKED, Film, Films, Rating
from infra.demo.platform import Platform, PlatformRefused, event, wait_until
from infra.demo.report import Percentiles, Recommendation, Rung
from models.metrics.ranking import average_precision, hit_at_k, ndcg_at_k
from models.recommendation.factorization import FactorizationConfig, Wals
from models.recommendation.feedback import PAD, Feedback, Users
from models.recommendation.item_weights import ItemNeighbours
from models.recommendation.popularity import Popularity
from models.recommendation.recommender import Recommender
from models.recommendation.system import FullSystem

K, FROZEN_K = 10, 200
NEW_FILMS = 3  # uploaded as the replay begins: nobody knows them, and each is promised impressions
PROMISED, PROMISE_S = 10, 40.0  # impressions, and seconds in which to get them, where the demo started the system
LOOK_EVERY_S = 0.5  # whether promises have ended
PER_CALL = 1_000
TIMEOUT_S = 120.0
_EVERY = 4  # likes of a person between questions


@dataclass
class Person:
    """What one person did so far, by film, oldest first, and what they will like."""

    user: str
    liked: list[str] = field(default_factory=list)
    disliked: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    to_come: list[str] = field(default_factory=list)

    def did(self, rating: Rating) -> None:
        self.seen.add(rating.item_id)
        if rating.stars >= LIKED:
            self.liked.append(rating.item_id)
        elif rating.stars <= DISLIKED:
            self.disliked.append(rating.item_id)


@dataclass(frozen=True)
class Question:
    """One moment at which a homepage was asked for."""

    user: str
    liked: tuple[str, ...]
    disliked: tuple[str, ...]
    seen: frozenset[str]
    wanted: frozenset[str]  # what they liked from then on
    live: list[str]
    frozen: list[str]


def choose_people(films: Films, count: int, *, seed: int) -> list[str]:
    """Return people who like at least eight films in the future, at random."""
    likes: dict[str, int] = {}
    for one in films.future:
        likes[one.user] = likes.get(one.user, 0) + (one.stars >= LIKED)
    found = sorted(user for user, number in likes.items() if number >= 8)
    return random.Random(seed).sample(found, min(count, len(found)))


def judged(lists: Sequence[Sequence[str]], wanted: Sequence[frozenset[str]]) -> Rung:
    """Return the means over answers of ten; what the person liked later is relevant."""
    relevance = [[float(item in want) for item in one[:K]] for one, want in zip(lists, wanted, strict=True)]
    totals = [len(want) for want in wanted]
    ideal = [np.ones(total) for total in totals]
    return Rung(
        ndcg_at_10=_mean([ndcg_at_k(one, K, ideal=best) for one, best in zip(relevance, ideal, strict=True)]),
        hr_at_10=_mean([hit_at_k(one, K) for one in relevance]),
        map_at_10=_mean(
            [average_precision(one, k=K, total_relevant=min(K, n)) for one, n in zip(relevance, totals, strict=True)]
        ),
    )


def ladder(films: Films, system: FullSystem, questions: Sequence[Question]) -> dict[str, Rung]:
    """Ask offline models about the questions' moments; they know the same history, and nothing of the future."""
    feedback = films.feedback()
    fitted: dict[str, Recommender] = {
        "popularity": Popularity(),
        "item-knn": ItemNeighbours(),
        "wals-32": Wals(FactorizationConfig(32, 1.0, 1.0, 10)),
    }
    for model in fitted.values():
        model.fit(feedback)
    users = _users(feedback, films, questions)
    places = {item: place for place, item in enumerate(feedback.items)}
    seen = np.zeros((len(questions), feedback.n_items), bool)
    for row, question in enumerate(questions):
        seen[row, [places[item] for item in question.seen]] = True
    rungs = {}
    for name, model in {**fitted, "quick-system": system}.items():
        order = np.argsort(-np.where(seen, -np.inf, model.score(users)), axis=1, kind="stable")[:, :K]
        lists = [[feedback.items[place] for place in row] for row in order]
        rungs[name] = judged(lists, [one.wanted for one in questions])
    return rungs


async def play(
    platform: Platform,
    films: Films,
    system: FullSystem,
    media: Sequence[str],
    *,
    label: str,
    run: str,
    people: int,
    past: int,
    advance: Callable[[int], None],
) -> Recommendation:
    """Tell the past, replay the future of some people, and judge the answers of the model `label`.

    `media` are stored images that stand for the films' bytes, one each.
    """

    async def answers() -> bool:
        model = (await platform.get("/v1/recommender"))["model"]
        return model is not None and model["version"] == label

    await wait_until(answers, what=f"{label} answering", timeout_s=TIMEOUT_S, every_s=0.2)
    chosen = choose_people(films, people, seed=7)
    await _tell_past(platform, films, chosen, media, run=run, count=past)
    persons = {user: Person(user) for user in chosen}
    for one in films.past:
        if one.user in persons:
            persons[one.user].did(one)
    future = [one for one in films.future if one.user in persons]
    for one in future:
        if one.stars >= LIKED:
            persons[one.user].to_come.append(one.item_id)
    frozen = {user: await _homepage(platform, person_id(user, run), FROZEN_K) for user in chosen}
    new = [await _upload_new(platform, media[-1 - number], run, number) for number in range(NEW_FILMS)]
    questions, latency = await _replay(platform, future, persons, {u: one.items for u, one in frozen.items()}, new, run)
    reaction = await _react(platform, [person_id(user, run) for user in chosen])
    advance(people)
    offline = await asyncio.to_thread(ladder, films, system, questions)
    wanted = [one.wanted for one in questions]
    live, before = judged([one.live for one in questions], wanted), judged([one.frozen for one in questions], wanted)
    state = await promises_ended(platform)
    promises = state["promises"]
    ended = promises["kept"] + promises["broken"]
    return Recommendation(
        users=len(chosen),
        videos=len(films.films) + NEW_FILMS,
        questions=len(questions),
        model=(state["model"] or {}).get("version"),
        latency_s=latency,
        ladder={**offline, "frozen": before, "live": live},
        click_to_feature_s=reaction,
        learning_gain=round(live.hr_at_10 - before.hr_at_10, 4),
        promises_kept=round(promises["kept"] / ended, 4) if ended else None,
    )


async def promises_ended(platform: Platform) -> dict[str, Any]:
    """Return the recommender's state once no promise is open, or as it is where they last longer than the demo."""
    ends = time.monotonic() + PROMISE_S
    while True:
        state: dict[str, Any] = await platform.get("/v1/recommender")
        promises = state["promises"]
        if not promises["open"] or promises["hours"] > PROMISE_S / 3600 or time.monotonic() > ends:
            return state
        await asyncio.sleep(LOOK_EVERY_S)


async def _tell_past(
    platform: Platform, films: Films, chosen: Sequence[str], media: Sequence[str], *, run: str, count: int
) -> None:
    """Upload the films, describe the people, and send the newest `count` ratings and all of the chosen people's."""
    shift_s = time.time() - films.past[-1].time_s
    first_s = films.past[0].time_s - 86_400 + shift_s
    uploads = [uploaded(film, media_id, first_s) for film, media_id in zip(films.films, media, strict=False)]
    for start in range(0, len(uploads), 100):
        await platform.send("uploads", uploads[start : start + 100])
    recent = films.past[-count:]
    own = [one for one in films.past[:-count] if one.user in set(chosen)]
    told_of = sorted({one.user for one in (*recent, *own)} | set(chosen))
    await platform.send("users", [profile_told(user, films.people[user], run) for user in told_of])
    told = [rated(one, run, one.time_s + shift_s) for one in (*own, *recent)]
    for start in range(0, len(told), PER_CALL):
        await platform.send("interactions", told[start : start + PER_CALL])
    last = told[-1]["data"]

    async def all_read() -> bool:
        try:
            reason = await platform.get(f"/v1/recommendations/{last['user_id']}/why-not/{last['item_id']}")
        except PlatformRefused:  # the film itself is not known yet
            return False
        return bool(reason["reason"] == "seen")

    await wait_until(all_read, what="the films' past", timeout_s=TIMEOUT_S, every_s=0.2)


async def _replay(
    platform: Platform,
    future: Sequence[Rating],
    persons: dict[str, Person],
    frozen: dict[str, list[str]],
    new: Sequence[str],
    run: str,
) -> tuple[list[Question], Percentiles]:
    """Send what people did in its order, and ask for a homepage before every fourth like of each."""
    questions: list[Question] = []
    latency: list[float] = []
    waiting: list[dict[str, Any]] = []
    likes = dict.fromkeys(persons, 0)
    for one in future:
        person = persons[one.user]
        if one.stars >= LIKED:
            if likes[one.user] % _EVERY == 0:
                await _send(platform, waiting)
                answer = await _homepage(platform, person_id(one.user, run), K)
                latency.append(answer.latency_s)
                shown = [item for item in answer.items if item in new]
                waiting += [_looked(person_id(one.user, run), item, len(questions)) for item in shown]
                order = [item for item in frozen[one.user] if item not in person.seen][:K]
                questions.append(
                    Question(
                        one.user,
                        tuple(person.liked),
                        tuple(person.disliked),
                        frozenset(person.seen),
                        frozenset(person.to_come),
                        answer.items,
                        order,
                    )
                )
            likes[one.user] += 1
            person.to_come.remove(one.item_id)
        person.did(one)
        waiting.append(rated(one, run, time.time()))
    await _send(platform, waiting)
    return questions, Percentiles.of(latency)


async def _react(platform: Platform, users: Sequence[str]) -> Percentiles:
    """Click the first video of each homepage, and return how long the homepage still showed it."""
    seconds = []
    for user in users:
        first = (await _homepage(platform, user, K)).items[0]
        began = time.perf_counter()
        click = event("interaction.click", user, {"user_id": user, "item_id": first}, first)
        await platform.send("interactions", [click])

        async def gone(user: str = user, first: str = first) -> bool:
            return first not in (await _homepage(platform, user, K)).items

        await wait_until(gone, what="a click on the homepage", timeout_s=TIMEOUT_S, every_s=0.005)
        seconds.append(time.perf_counter() - began)
    return Percentiles.of(seconds)


@dataclass(frozen=True)
class _Homepage:
    items: list[str]
    latency_s: float


async def _homepage(platform: Platform, user_id: str, k: int) -> _Homepage:
    began = time.perf_counter()
    answer = await platform.get(f"/v1/recommendations/{user_id}?k={k}")
    return _Homepage([one["item_id"] for one in answer["results"]], time.perf_counter() - began)


async def _send(platform: Platform, waiting: list[dict[str, Any]]) -> None:
    for start in range(0, len(waiting), PER_CALL):
        await platform.send("interactions", waiting[start : start + PER_CALL])
    waiting.clear()


async def _upload_new(platform: Platform, media_id: str, run: str, number: int) -> str:
    film = Film(f"new-{run}-{number}", f"A premiere, number {number + 1}", ("Drama",))
    await platform.send("uploads", [uploaded(film, media_id, time.time())])
    return film.item_id


def _users(feedback: Feedback, films: Films, questions: Sequence[Question]) -> Users:
    places = {item: place for place, item in enumerate(feedback.items)}
    encoder = feedback.user_table.encoder if feedback.user_table is not None else None
    assert encoder is not None
    cells = [dict(zip(("age_band", "gender"), films.people[one.user], strict=True)) for one in questions]
    return Users(
        place=np.full(len(questions), PAD, np.int32),
        history=_padded([[places[item] for item in one.liked] for one in questions]),
        disliked=_padded([[places[item] for item in one.disliked] for one in questions]),
        features=encoder.encode(cells),
        now=np.full(len(questions), films.past[-1].time_s),
    )


def _padded(rows: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    out = np.full((len(rows), max(1, *(len(row) for row in rows))), PAD, np.int32)
    for row, values in zip(out, rows, strict=True):
        row[len(row) - len(values) :] = values
    return out


def person_id(user: str, run: str) -> str:
    """Return the id of a person in one run of the demo."""
    return f"viewer-{run}-{user}"


def _at(made: dict[str, Any], time_s: float) -> dict[str, Any]:
    stamp = datetime.fromtimestamp(time_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {**made, "time": stamp}


def uploaded(film: Film, media_id: str, time_s: float) -> dict[str, Any]:
    """Return the event of a film's upload."""
    data = {
        "item_id": film.item_id,
        "owner_id": f"studio-of-{film.item_id}",
        "kind": "video",
        "media_id": media_id,
        "title": film.title,
        "tags": list(film.tags),
    }
    return _at(event("upload.created", film.item_id, data, f"{time_s:.0f}"), time_s)


def profile_told(user: str, about: tuple[str, str], run: str) -> dict[str, Any]:
    """Return the event that says how old a person is, and of which gender."""
    user_id = person_id(user, run)
    return event("user.changed", user_id, {"user_id": user_id, "age_band": about[0], "gender": about[1]})


def rated(rating: Rating, run: str, time_s: float) -> dict[str, Any]:
    """Return a rating as what the platform's people do: a like, a dislike, or a third of it watched."""
    user_id = person_id(rating.user, run)
    kind = "like" if rating.stars >= LIKED else "dislike" if rating.stars <= DISLIKED else "watch"
    data: dict[str, Any] = {"user_id": user_id, "item_id": rating.item_id}
    if kind == "watch":
        data["value"] = {"seconds": 30, "of_s": 100}
    return _at(event(f"interaction.{kind}", user_id, data, rating.item_id), time_s)


def _looked(user_id: str, item_id: str, number: int) -> dict[str, Any]:
    return event("interaction.impression", user_id, {"user_id": user_id, "item_id": item_id}, item_id, str(number))


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4) if values else 0.0
