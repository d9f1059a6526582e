"""Works the dead letters: list, show, replay, drop.

A dead-letter topic is a log, so nothing is changed in it: a letter that was replayed or dropped gets a later record
with the same key (the event id) and a marker header. Readers keep the newest letter of a key and what was said about
it since.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from core import topics
from core.errors import InvalidInput, NotFound
from core.ports import OutgoingRecord, Publisher, StoredRecord
from storage.log.reader import read_all
from streams import dead_letter_record as letters

REPLAY_BATCH = 200

State = Literal["open", "replayed", "dropped"]
Progress = Callable[[int, int], None]  # done, total


@dataclass(frozen=True)
class DeadLetter:
    """One event that could not be handled, and where it stands."""

    id: str
    topic: str
    partition: int
    offset: int
    time: datetime  # of the source record
    key: str
    code: str
    error: str
    stack_hash: str
    attempts: int
    agent: str
    code_version: str
    replayed: int  # how often the event had been replayed when it failed
    state: State
    value: bytes  # the original bytes
    headers: Mapping[str, bytes]  # the original headers


def list_dead_letters(
    bootstrap: str, topic: str | None = None, *, code: str | None = None, settled: bool = False
) -> list[DeadLetter]:
    """Return dead letters, oldest first, each event once.

    Args:
        bootstrap: the broker.
        topic: only those of this source topic (or of this `.dlq` topic); None for all.
        code: only those with this error code.
        settled: also those that were replayed or dropped since.

    Raises:
        NotFound: no such topic. Unavailable: the broker does not answer.
    """
    found = [letter for name in _dlq_names(topic) for letter in fold(read_all(bootstrap, name))]
    return [letter for letter in found if (settled or letter.state == "open") and code in (None, letter.code)]


def show(bootstrap: str, letter_id: str) -> DeadLetter:
    """Return one dead letter, settled or not. Raises NotFound."""
    for letter in list_dead_letters(bootstrap, settled=True):
        if letter.id == letter_id:
            return letter
    raise NotFound(f"there is no dead letter {letter_id!r}; `riverlight dlq list --settled` shows them all")


async def replay(
    publisher: Publisher, chosen: Sequence[DeadLetter], progress: Progress = lambda done, total: None
) -> int:
    """Send the original bytes back to where they came from, under the same event id; return how many were sent.

    Safe to repeat: what the first try applied is a duplicate to every sink. A letter counts as replayed once the
    broker has the event; fails the event again, it is a new letter.

    Raises:
        Unavailable: the broker did not take a batch. Those before it are sent and marked.
    """
    for start in range(0, len(chosen), REPLAY_BATCH):
        batch = chosen[start : start + REPLAY_BATCH]
        await publisher.publish([_again(letter) for letter in batch])
        await publisher.publish([_marker(letter, "replayed") for letter in batch])
        progress(min(start + REPLAY_BATCH, len(chosen)), len(chosen))
        await asyncio.sleep(0)
    return len(chosen)


async def drop(publisher: Publisher, chosen: Sequence[DeadLetter]) -> int:
    """Mark letters as settled without sending them; return how many. The bytes stay until retention removes them."""
    for start in range(0, len(chosen), REPLAY_BATCH):
        await publisher.publish([_marker(letter, "dropped") for letter in chosen[start : start + REPLAY_BATCH]])
    return len(chosen)


def fold(records: Iterable[StoredRecord]) -> list[DeadLetter]:
    """Return the letters of one dead-letter topic from its records in order of offset."""
    found: dict[str, StoredRecord] = {}
    states: dict[str, State] = {}
    for record in records:
        marker = record.headers.get(letters.MARKER, b"").decode()
        if marker in ("replayed", "dropped"):
            states[record.key] = "replayed" if marker == "replayed" else "dropped"
        elif letters.TOPIC in record.headers:
            # A worker that died before its commit writes the same letter (same place) again: that settles nothing.
            if not _same_place(found.get(record.key), record):
                states[record.key] = "open"
                found.pop(record.key, None)  # newest last
            found[record.key] = record
    return [_letter(record, states[key]) for key, record in found.items()]


def _same_place(one: StoredRecord | None, other: StoredRecord) -> bool:
    place = (letters.TOPIC, letters.PARTITION, letters.OFFSET)
    return one is not None and all(one.headers.get(name) == other.headers.get(name) for name in place)


def _letter(record: StoredRecord, state: State) -> DeadLetter:
    def text(name: str) -> str:
        return record.headers.get(name, b"").decode("utf-8", "replace")

    def number(name: str) -> int:
        value = text(name)
        return int(value) if value.lstrip("-").isdigit() else 0

    return DeadLetter(
        id=record.key,
        topic=text(letters.TOPIC),
        partition=number(letters.PARTITION),
        offset=number(letters.OFFSET),
        time=datetime.fromtimestamp(max(0, number(letters.TIMESTAMP)) / 1000, UTC),
        key=text(letters.KEY),
        code=text(letters.CODE),
        error=text(letters.ERROR),
        stack_hash=text(letters.STACK_HASH),
        attempts=number(letters.ATTEMPTS),
        agent=text(letters.AGENT),
        code_version=text(letters.CODE_VERSION),
        replayed=number(letters.REPLAYED),
        state=state,
        value=record.value or b"",
        headers={name: value for name, value in record.headers.items() if not name.startswith(letters.PREFIX)},
    )


def _again(letter: DeadLetter) -> OutgoingRecord:
    headers = {**letter.headers, letters.REPLAYED: str(letter.replayed + 1).encode()}
    return OutgoingRecord(letter.topic, letter.key, letter.value, headers)


def _marker(letter: DeadLetter, what: State) -> OutgoingRecord:
    return OutgoingRecord(letter.topic + topics.DLQ_SUFFIX, letter.id, b"", {letters.MARKER: what.encode()})


def _dlq_names(topic: str | None) -> list[str]:
    names = [declared.name for declared in topics.DEAD_LETTERS]
    if topic is None:
        return names
    name = topic if topic.endswith(topics.DLQ_SUFFIX) else topic + topics.DLQ_SUFFIX
    if name not in names:
        raise NotFound(f"{topic!r} has no dead letters; topics are {', '.join(t.name for t in topics.SOURCES)}")
    return [name]


def select(found: Sequence[DeadLetter], letter_id: str) -> list[DeadLetter]:
    """Return the letter with an id, or all for "all". Raises NotFound, InvalidInput (it is settled already)."""
    if letter_id == "all":
        return [letter for letter in found if letter.state == "open"]
    for letter in found:
        if letter.id == letter_id:
            if letter.state != "open":
                raise InvalidInput(f"dead letter {letter_id!r} was {letter.state} already")
            return [letter]
    raise NotFound(f"there is no dead letter {letter_id!r}; `riverlight dlq list` shows those that are open")
