"""The verifier finds what was planted, and nothing where nothing is wrong."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from infra.chaos.ledger import Plan, write_ledger
from infra.chaos.model import Entity, ItemState, Model, us
from infra.chaos.verifier import Letter, Observed, Row, verify

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
AS_OF_US = us(START) + 2 * 3_600_000_000


@pytest.fixture(scope="module")
def model() -> Model:
    plan = Plan(1_500, future_share=0.02)
    return write_ledger(7, "run", plan, start=START, media_ids=["a" * 64]).model()


@pytest.fixture
def right(model: Model) -> Observed:
    """What the stores hold when everything went well."""
    windows = {entity: {name: model.totals(entity, AS_OF_US, name) for name in ("day", "week", "month")}
               for entity in model.counted}  # fmt: skip
    return Observed(
        logged=frozenset(model.events),
        letters={letter_id: Letter(code, "open") for letter_id, code in model.letters.items()},
        items=dict(model.items),
        applied=frozenset(model.uploads),
        entries={item_id: item for item_id, item in model.items.items() if item.state == "active"},
        rows={entity: Row(AS_OF_US, found) for entity, found in windows.items()},
        archived=frozenset(model.events),
    )


def counts(model: Model, seen: Observed) -> tuple[int, int, int, int]:
    verdict = verify(model, seen)
    assert verdict.clean == (not verdict.examples)
    return verdict.lost, verdict.twice, verdict.wrong, verdict.unexpected


def some(model: Model, state: str) -> ItemState:
    return next(item for item in model.items.values() if item.state == state)


def busiest(model: Model) -> Entity:
    return max(model.counted, key=lambda entity: len(model.counted[entity]))


def with_row(seen: Observed, entity: Entity, *added: int) -> Observed:
    assert seen.rows is not None
    row = seen.rows[entity]
    windows = {
        name: (found[0] + added[0], found[1] + added[1], found[2] + added[2]) for name, found in row.windows.items()
    }
    return replace(seen, rows={**seen.rows, entity: Row(row.as_of_us, windows)})


def test_what_is_right_is_clean(model: Model, right: Observed) -> None:
    assert counts(model, right) == (0, 0, 0, 0)
    assert verify(model, right).dead_lettered == len(model.letters) > 0


def test_a_lost_count_is_lost(model: Model, right: Observed) -> None:
    assert counts(model, with_row(right, busiest(model), -1, 0, 0)) == (1, 0, 0, 0)


def test_counts_applied_twice_are_found_with_their_number(model: Model, right: Observed) -> None:
    assert counts(model, with_row(right, busiest(model), 2, 1, 0)) == (0, 3, 0, 0)


def test_watched_time_counted_twice_is_found_although_no_count_differs(model: Model, right: Observed) -> None:
    assert counts(model, with_row(right, busiest(model), 0, 0, 12_345)) == (0, 1, 0, 0)
    assert counts(model, with_row(right, busiest(model), 0, 0, -1)) == (1, 0, 0, 0)


def test_a_missing_row_is_everything_it_should_count(model: Model, right: Observed) -> None:
    entity = busiest(model)
    impressions, clicks, watched = model.everything(entity)
    assert right.rows is not None
    rows = {key: row for key, row in right.rows.items() if key != entity}
    assert counts(model, replace(right, rows=rows)) == (impressions + clicks + bool(watched), 0, 0, 0)


def test_a_wrong_window_is_wrong_although_the_longest_is_right(model: Model, right: Observed) -> None:
    entity = busiest(model)
    assert right.rows is not None
    windows = {**right.rows[entity].windows, "day": (0, 0, 0)}
    assert counts(model, replace(right, rows={**right.rows, entity: Row(AS_OF_US, windows)})) == (0, 0, 1, 0)


def test_a_row_of_an_entity_that_nothing_happened_to_is_unexpected(model: Model, right: Observed) -> None:
    assert right.rows is not None
    ghost = {("user", "run-ghost"): Row(AS_OF_US, dict.fromkeys(("day", "week", "month"), (1, 0, 0)))}
    assert counts(model, replace(right, rows={**right.rows, **ghost})) == (0, 0, 0, 1)  # type: ignore[dict-item]


def test_an_event_missing_in_the_log_in_the_archive_or_in_the_inbox_is_lost(model: Model, right: Observed) -> None:
    event = min(model.uploads)
    assert counts(model, replace(right, logged=right.logged - {event})) == (1, 0, 0, 0)
    assert counts(model, replace(right, archived=(right.archived or frozenset()) - {event})) == (1, 0, 0, 0)
    assert counts(model, replace(right, applied=right.applied - {event})) == (1, 0, 0, 0)


def test_only_what_was_acknowledged_must_be_in_the_log(model: Model, right: Observed) -> None:
    event = min(model.events)
    seen = replace(right, logged=right.logged - {event})
    assert verify(model, seen, required=frozenset(model.events - {event})).clean


def test_a_wrong_value_in_the_catalogue_is_wrong_and_says_which(model: Model, right: Observed) -> None:
    item = some(model, "active")
    assert right.items is not None
    seen = replace(right, items={**right.items, item.item_id: replace(item, title="another")})
    assert counts(model, seen) == (0, 0, 1, 0)
    assert "title 'another', should be" in verify(model, seen).examples["wrong"][0]


def test_an_item_that_is_not_there_is_lost_and_one_too_many_is_unexpected(model: Model, right: Observed) -> None:
    item = some(model, "hidden")
    assert right.items is not None
    items = {key: value for key, value in right.items.items() if key != item.item_id}
    assert counts(model, replace(right, items=items)) == (1, 0, 0, 0)
    ghost = replace(item, item_id="run-ghost")
    assert counts(model, replace(right, items={**right.items, "run-ghost": ghost})) == (0, 0, 0, 1)


def test_a_deleted_or_hidden_item_that_is_still_in_the_index_is_wrong(model: Model, right: Observed) -> None:
    for state in ("deleted", "hidden"):
        item = some(model, state)
        shown = replace(item, state="active")
        assert counts(model, replace(right, entries={**right.entries, item.item_id: shown})) == (0, 0, 1, 0)


def test_an_active_item_without_an_entry_is_lost_and_an_old_entry_is_wrong(model: Model, right: Observed) -> None:
    item = some(model, "active")
    entries = {key: value for key, value in right.entries.items() if key != item.item_id}
    assert counts(model, replace(right, entries=entries)) == (1, 0, 0, 0)
    assert counts(model, replace(right, entries={**entries, item.item_id: replace(item, time_us=1)})) == (0, 0, 1, 0)


def test_contradictions_and_differences_of_the_serving_index_are_wrong(model: Model, right: Observed) -> None:
    assert counts(model, replace(right, contradictions=("run-item-1",))) == (0, 0, 1, 0)
    assert counts(model, replace(right, live_differences=("run-item-1", "run-item-2"))) == (0, 0, 2, 0)


def test_a_dead_letter_that_is_missing_wrong_or_of_a_good_event_is_found(model: Model, right: Observed) -> None:
    letter_id = min(model.letters)
    letters = dict(right.letters)
    assert counts(model, replace(right, letters={**letters, letter_id: Letter("internal", "open")})) == (0, 0, 1, 0)
    good = min(model.events)
    assert counts(model, replace(right, letters={**letters, good: Letter("deadline", "open")})) == (0, 0, 0, 1)
    assert counts(model, replace(right, letters={**letters, good: Letter("deadline", "replayed")})) == (0, 0, 0, 0)
    del letters[letter_id]
    assert counts(model, replace(right, letters=letters)) == (1, 0, 0, 0)


def test_the_state_hash_knows_every_store_and_not_the_name_of_the_run(model: Model, right: Observed) -> None:
    renamed = write_ledger(7, "nur", Plan(1_500, future_share=0.02), start=START, media_ids=["a" * 64]).model()
    other = replace(
        right,
        items=dict(renamed.items),
        letters={letter_id: Letter(code, "open") for letter_id, code in renamed.letters.items()},
        entries={item_id: item for item_id, item in renamed.items.items() if item.state == "active"},
        rows={entity: Row(1, {"month": renamed.everything(entity)}) for entity in renamed.counted},
        archived=frozenset(renamed.events),
    )
    assert right.state_hash("run") == other.state_hash("nur")
    for changed in (
        with_row(right, busiest(model), 1, 0, 0),
        replace(right, archived=frozenset()),
        replace(right, letters={}),
        replace(right, entries={}),
        replace(right, items={}),
    ):
        assert changed.state_hash("run") != right.state_hash("run")
