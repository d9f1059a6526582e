"""Asks for answers all the time, follows the log beside it, and says what was shown that must not be any more.

Both clocks are this process's: a record counts from when this reader of the log had it, as any gateway could have.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx

from core.errors import InvalidInput, Unavailable
from core.moderation import decode_verdict
from core.ports import StoredRecord
from core.topics import VERDICTS
from infra.chaos.steady_load import percentile
from storage.log.reader import LogReader

GRACE_S = 1.0
_EVERY_S = 0.1
_ANSWER_S = 15.0


@dataclass(frozen=True)
class Question:
    """One call whose answer names items. `viewer`: for whom; what they must not be shown is `of_viewer`."""

    kind: str
    method: str
    path: str
    body: Mapping[str, Any] | None = None
    viewer: str = ""


@dataclass(frozen=True)
class Shown:
    """One answer: when it was asked for and had (`time.monotonic()`), and the items in it. Status 0: none came."""

    kind: str
    begun_s: float
    ended_s: float
    status: int
    items: frozenset[str] = frozenset()
    degraded: tuple[str, ...] = ()  # parts of the recommender that the answer had to do without


@dataclass(frozen=True)
class Restricted:
    """From when on something (a post, a viewer's past) takes items out of answers, or (`enforced` false) does not."""

    at_s: float
    cause: str
    items: tuple[str, ...]
    enforced: bool


#: Reads what a record of the log takes out of answers; the number is when it was read.
Follow = Callable[[StoredRecord, float], Iterable[Restricted]]


def of_viewer(item: str, viewer: str) -> str:
    """Return how an item is called in answers for one viewer."""
    return f"{item} for {viewer}"


def of_verdict(record: StoredRecord, at_s: float) -> list[Restricted]:
    """Follow `moderation.verdicts.v1`."""
    try:
        verdict = decode_verdict(record.value) if record.value is not None else None
    except InvalidInput:
        return []
    if verdict is None or verdict.state != "enforced":
        return [Restricted(at_s, record.key, (), False)]
    return [Restricted(at_s, record.key, tuple(verdict.item_ids), True)]


VERDICTS_OF: Mapping[str, Follow] = {VERDICTS.name: of_verdict}


def shown_late(answers: Sequence[Shown], told: Sequence[Restricted], grace_s: float = GRACE_S) -> list[str]:
    """Return what answers showed although it had been taken out for longer than the grace when they were asked for.

    An item counts while anything takes it out; what was lifted while an answer was on its way does not.
    """
    spans = _spans(told)
    found = []
    for answer in answers:
        for item in sorted(answer.items & spans.keys()):
            for since, until in spans[item]:
                if since + grace_s < answer.begun_s and answer.ended_s < until:
                    late_s = answer.begun_s - since
                    found.append(f"{item}: in a {answer.kind} answer {late_s:.1f} s after it was taken out")
    return found


def _spans(told: Sequence[Restricted]) -> dict[str, list[tuple[float, float]]]:
    """Return, by item, from when until when anything takes it out."""
    by: dict[str, dict[str, float]] = {}  # item -> cause -> since
    spans: dict[str, list[tuple[float, float]]] = {}
    shows: dict[str, tuple[str, ...]] = {}  # cause -> items
    begun: dict[str, float] = {}
    for one in sorted(told, key=lambda one: one.at_s):
        for item in {*shows.get(one.cause, ()), *one.items}:
            holders = by.setdefault(item, {})
            was = bool(holders)
            if one.enforced and item in one.items:
                holders.setdefault(one.cause, one.at_s)
            else:
                holders.pop(one.cause, None)
            if holders and not was:
                begun[item] = one.at_s
            elif was and not holders:
                spans.setdefault(item, []).append((begun.pop(item), one.at_s))
        shows[one.cause] = one.items if one.enforced else ()
    for item, since in begun.items():
        spans.setdefault(item, []).append((since, float("inf")))
    return spans


class AnswerWatch:
    """Asks questions in turns, ten a second at most, and follows topics, while the block runs."""

    def __init__(
        self,
        url: str,
        bootstrap: str,
        questions: Callable[[int], Question],
        run: str,
        follow: Mapping[str, Follow] = VERDICTS_OF,
    ) -> None:
        """Prepare.

        Args:
            url: of the gateway; bootstrap: of the broker.
            questions: returns the question with a number, from 0 on.
            run: what the keys of the records of interest begin with.
            follow: how to read the records of each topic.
        """
        self.answers: list[Shown] = []
        self.told: list[Restricted] = []
        self._url = url
        self._bootstrap = bootstrap
        self._questions = questions
        self._run_name = run
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, name="chaos-answers", daemon=True)]
        for topic, read in follow.items():
            self._threads.append(
                threading.Thread(target=self._follow, args=(topic, read), name="chaos-follow", daemon=True)
            )

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def late(self) -> list[str]:
        """Return what was shown too late."""
        return shown_late(self.answers, self.told)

    def figures(self) -> dict[str, float]:
        """Return how much was asked and seen."""
        good = [one for one in self.answers if one.status == 200]
        return {
            "answers": len(self.answers),
            "answers_given": len(good),
            "answers_refused": sum(400 <= one.status < 500 for one in self.answers),  # nothing public shows the picture
            "answers_with_items": sum(bool(one.items) for one in good),
            "answers_ms_p99": 1000 * percentile([one.ended_s - one.begun_s for one in good], 99),
            "taken_out_meanwhile": sum(one.enforced for one in self.told),
            "shown_after_1_s": len(self.late()),
        }

    def _ask(self) -> None:
        number = 0
        with httpx.Client(base_url=self._url, timeout=_ANSWER_S, trust_env=False) as client:
            while not self._stop.wait(_EVERY_S):
                self.answers.append(ask(client, self._questions(number)))
                number += 1

    def _follow(self, topic: str, read: Follow) -> None:
        reader: LogReader | None = None
        while not self._stop.is_set():
            try:
                reader = reader or LogReader(self._bootstrap, topic)
                for record in reader.poll(500, 0.05):
                    if record.key.startswith(self._run_name):
                        self.told.extend(read(record, time.monotonic()))
            except Unavailable:
                self._stop.wait(0.2)
        if reader is not None:
            reader.close()


def ask(client: httpx.Client, question: Question) -> Shown:
    """Ask one question; an error is an answer, too."""
    begun = time.monotonic()
    try:
        answer = client.request(question.method, question.path, json=question.body)
    except httpx.HTTPError:
        return Shown(question.kind, begun, time.monotonic(), 0)
    ended = time.monotonic()
    if answer.status_code != 200:
        return Shown(question.kind, begun, ended, answer.status_code)
    found = answer.json()
    items = [str(one["item_id"]) for one in found["results"]]
    own = [of_viewer(item, question.viewer) for item in items if question.viewer]
    return Shown(question.kind, begun, ended, 200, frozenset([*items, *own]), tuple(found.get("degraded") or ()))
