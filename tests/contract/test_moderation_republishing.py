"""Verdicts that the topic lost come from the store once more, and change nothing where they are known."""

from datetime import timedelta

import pytest

from core import topics
from core.entries import AGAIN_HEADER, VERSION_HEADER, Version
from core.errors import Unavailable
from core.moderation import decode_verdict
from core.ports import OutgoingRecord
from infra.moderation_republishing import republish_all
from serving.restrictions.state import RestrictionState
from storage.catalogue import Catalogue
from storage.moderation import ModerationStore
from storage.moderation.republishing import Republished
from tests.moderation_records import SetClock, a_decision, a_post, deleted
from tests.moderation_store import catalogue, clock, migrated_database, migrated_file, postgres_server, store

__all__ = ["catalogue", "clock", "migrated_database", "migrated_file", "postgres_server", "store"]


def sent(catalogue: Catalogue) -> list[OutgoingRecord]:
    """Take the verdicts out of the outbox."""
    pending = catalogue.outbox_pending(10_000)
    catalogue.outbox_sent([number for number, _ in pending])
    return [record for _, record in pending if record.topic == topics.VERDICTS.name]


def applied(records: list[OutgoingRecord], state: RestrictionState | None = None) -> RestrictionState:
    """Apply verdicts as a gateway does."""
    state = state or RestrictionState()
    for record in records:
        if record.value is None:
            state.remove(record.key, Version.from_header(record.headers[VERSION_HEADER]))
        else:
            state.apply(decode_verdict(record.value))
    return state


@pytest.fixture
def history(store: ModerationStore) -> ModerationStore:
    """Posts in every state that a verdict may have to tell of."""
    for name, action in (("down", "enforce"), ("low", "demote"), ("fine", "allow"), ("gone", "enforce")):
        post = a_post(name, item_ids=(f"item-of-{name}",))
        store.record("m", [], [post], [a_decision(f"of-{name}", name, action, item_ids=[f"item-of-{name}"])])  # type: ignore[arg-type]
    cleared = a_post("cleared", item_ids=("item-of-cleared",))
    store.record("m", [], [cleared], [a_decision("first", "cleared", item_ids=["item-of-cleared"])])
    store.record("m", [], [], [a_decision("then", "cleared", "allow", "first", item_ids=["item-of-cleared"])])
    store.record("m", [], [deleted("gone")])
    erased = a_post("erased", author_id="anna", item_ids=("item-of-erased",))
    decision = a_decision("of-erased", "erased", author_id="anna", item_ids=["item-of-erased"])
    store.record("m", [], [erased], [decision])
    store.erase_user("anna")
    return store


def test_a_gateway_that_knows_nothing_knows_all_restrictions_again(
    history: ModerationStore, catalogue: Catalogue
) -> None:
    before = applied(sent(catalogue))
    done = republish_all(history, catalogue.outbox_size, "ada")
    assert (done.posts, done.verdicts) == (6, 5)  # "fine" was never restricted
    again = sent(catalogue)
    after = applied(again)
    assert sorted(after.items()) == sorted(before.items()) == [
        ("item-of-down", "author-1"),
        ("item-of-gone", "author-1"),
        ("item-of-low", "author-1"),
    ]  # fmt: skip
    assert after.of("item-of-low", "author-1") == before.of("item-of-low", "author-1")
    assert all(AGAIN_HEADER in record.headers for record in again)


def test_a_gateway_that_knows_them_takes_no_notice(history: ModerationStore, catalogue: Catalogue) -> None:
    first = sent(catalogue)
    state = applied(first)
    for _ in range(2):
        republish_all(history, catalogue.outbox_size, "ada")
        for record in sent(catalogue):
            if record.value is not None:
                assert not state.apply(decode_verdict(record.value)), record.key


def test_an_old_verdict_that_is_left_in_the_topic_is_overruled(history: ModerationStore, catalogue: Catalogue) -> None:
    enforced = next(record for record in sent(catalogue) if record.key == "cleared")
    assert applied([enforced]).post("cleared") is not None
    republish_all(history, catalogue.outbox_size, "ada")
    assert applied([enforced, *sent(catalogue)]).post("cleared") is None


def test_what_is_decided_meanwhile_wins(history: ModerationStore, catalogue: Catalogue, clock: SetClock) -> None:
    sent(catalogue)
    page = history.republish("ada", limit=3)
    assert (page.posts, page.place) == (3, "erased")
    clock.pass_(minutes=1)
    history.record("m", [], [], [a_decision("up", "down", "allow", "of-down", item_ids=["item-of-down"])])
    assert history.republish("ada", page.place or "", limit=3).place == "low"
    assert history.republish("ada", "low", limit=3) == Republished(0, 0, None)
    assert applied(sent(catalogue)).post("down") is None


def test_it_is_in_the_audit_log_who_did_it(history: ModerationStore, catalogue: Catalogue) -> None:
    republish_all(history, catalogue.outbox_size, "ada")
    entry = history.audit_entries()[0]
    assert (entry.actor, entry.action) == ("admin:ada", "verdicts.republished")
    assert history.verify_audit().ok


def test_it_waits_for_the_outbox_and_says_when_nothing_leaves_it(history: ModerationStore) -> None:
    slept: list[float] = []
    sizes = iter([5_000, 3_000, 1_500, 900, *[0] * 10])
    republish_all(history, lambda: next(sizes), "ada", sleep=slept.append)
    assert len(slept) == 3
    with pytest.raises(Unavailable, match="nothing leaves it"):
        republish_all(history, lambda: 5_000, "ada", sleep=slept.append)
    assert timedelta(seconds=sum(slept)) < timedelta(seconds=40)
