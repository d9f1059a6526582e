"""The ledger repeats itself, and its model says what the documentation promises."""

from datetime import UTC, datetime, timedelta

import pytest

from core import topics
from core.errors import InvalidEvent
from core.events import UploadDeleted, decode, event_key, split_record
from infra.chaos.ledger import Ledger, Plan, shuffled, write_ledger
from infra.chaos.model import us
from infra.chaos.poison import cured, with_poison

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MEDIA = [f"{number:064x}" for number in range(5)]
STREAM = {topics.UPLOADS.name: "uploads", topics.INTERACTIONS.name: "interactions"}


def ledger(seed: int = 7, **plan: object) -> Ledger:
    return write_ledger(seed, "run", Plan(**{"events": 2_000, **plan}), start=START, media_ids=MEDIA)  # type: ignore[arg-type]


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not() -> None:
    assert [one.value for one in ledger().sent] == [one.value for one in ledger().sent]
    assert [one.value for one in ledger().sent] != [one.value for one in ledger(8).sent]


def test_what_is_sent_is_what_the_agents_can_read_and_every_kind_is_among_it() -> None:
    kinds = set()
    for one in ledger(future_share=0.1).sent:
        events = [decode(part, STREAM[one.topic]) for part in split_record(one.value)]
        assert all(event_key(event) == one.key for event in events)
        assert not one.good or tuple(events) == one.good
        kinds |= {type(event).__name__ for event in events}
    uploads = {"UploadCreated", "UploadChanged", "UploadHidden", "UploadDeleted"}
    assert uploads < kinds
    assert len(kinds) == 4 + 12


def test_ids_are_numbered_and_never_given_twice() -> None:
    ids = [event.id for one in ledger().sent for event in one.good]
    assert len(ids) == len(set(ids)) >= 2_000
    assert ids == sorted(ids)


def test_late_and_future_events_are_labelled_with_what_must_become_of_them() -> None:
    written = ledger(late_share=0.1, too_late_share=0.1, future_share=0.1, upload_share=0)
    codes = list(written.model().letters.values())
    assert 100 < codes.count("late-event") < 300
    assert 100 < codes.count("future-event") < 300
    assert set(codes) == {"late-event", "future-event"}
    times = [event.time for one in written.sent for event in one.good]
    assert min(times) > START - timedelta(days=7)
    assert max(times) <= START + timedelta(hours=1, minutes=1)


def test_the_model_counts_what_happened_inside_a_window_only() -> None:
    model = ledger(upload_share=0).model()
    entity, added = max(model.counted.items(), key=lambda pair: len(pair[1]))
    assert model.totals(entity, us(START) + 2 * 3_600_000_000, "day") == model.everything(entity)
    assert model.totals(entity, added[3][0], "day") != model.everything(entity)  # the rest had not happened yet
    assert model.totals(entity, us(START + timedelta(days=2)), "day") == (0, 0, 0)
    assert model.totals(entity, us(START + timedelta(days=2)), "week") == model.everything(entity)


def test_the_model_does_not_depend_on_the_order_of_arrival() -> None:
    written = ledger()
    turned = Ledger(written.run, written.seed, tuple(reversed(written.sent)))
    assert turned.model().items == written.model().items
    assert {key: sorted(rows) for key, rows in turned.model().counted.items()} == {
        key: sorted(rows) for key, rows in written.model().counted.items()
    }


def test_a_deleted_item_keeps_nothing_personal_in_the_model() -> None:
    deleted = [item for item in ledger().model().items.values() if item.state == "deleted"]
    assert deleted
    assert all((item.owner_id, item.media_id, item.title, item.tags) == ("", "", "", ()) for item in deleted)


def test_shuffling_moves_records_within_the_window_and_keeps_the_order_of_an_item() -> None:
    written = ledger()
    order = shuffled(written, 100)
    assert sorted(one.number for one in order) == [one.number for one in written.sent]
    moves = [abs(place - one.number) for place, one in enumerate(order) if one.topic == topics.INTERACTIONS.name]
    assert 20 < max(moves) <= 100
    last: dict[str, int] = {}
    overtaking = 0
    for one in (one for one in order if one.topic == topics.UPLOADS.name):
        if one.number < last.get(one.key, -1):
            overtaking += 1
            continue
        if not isinstance(one.good[0], UploadDeleted):
            last[one.key] = one.number
    assert overtaking == 0, "only deletions overtake"
    first = {}
    for one in (one for one in order if one.topic == topics.UPLOADS.name):
        first.setdefault(one.key, one.good[0])
    assert any(isinstance(event, UploadDeleted) for event in first.values())


def test_poison_is_of_every_sort_and_cannot_be_decoded_or_applied() -> None:
    written = with_poison(ledger(), 0.02, start=START, uploads=True, undecodable="e" * 64, faults=True)
    model = written.model()
    assert set(model.letters.values()) == {
        "invalid-event", "internal", "deadline", "missing-media", "not-found", "undecodable-media",
    }  # fmt: skip
    assert len(model.letters) == round(len(ledger().sent) * 0.02) >= 14  # as many sorts
    for one in written.sent:
        if set(one.letters.values()) == {"invalid-event"} and not one.good:
            with pytest.raises(InvalidEvent):
                [decode(part, STREAM[one.topic]) for part in split_record(one.value)]
    assert max(len(one.value) for one in written.sent) > 1_000_000


def test_a_mended_handler_turns_its_poison_into_good_events() -> None:
    written = with_poison(ledger(), 0.02, start=START, uploads=True, undecodable="e" * 64, faults=True)
    mended = cured(written).model()
    assert not {"internal", "deadline"} & set(mended.letters.values())
    spoiled = len(written.model().letters) - len(mended.letters)
    assert spoiled >= 2
    assert len(mended.events) == len(written.model().events) + spoiled
    assert written.events == cured(written).events
