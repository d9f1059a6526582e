"""What viewers must not be shown any more is read off the log."""

from datetime import UTC, datetime

from core.events import (
    AnyEvent,
    Click,
    Follow,
    Impression,
    Interaction,
    ItemRef,
    Search,
    UploadDeleted,
    UploadHidden,
    UploadHiding,
    encode,
    encode_frame,
)
from core.ports import StoredRecord
from infra.chaos.answers import Shown, of_viewer, shown_late
from infra.chaos.viewers import of_interactions, of_uploads

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def record(value: bytes) -> StoredRecord:
    return StoredRecord("topic", 0, 0, "key", value, {}, 0)


def did(kind: type, item: str | None = "a") -> AnyEvent:
    data = Interaction(user_id="u", item_id=item, value="x" if kind is Search else None)
    event: AnyEvent = kind(id="e", source="t", time=NOW, subject="u", data=data)
    return event


def hidden(*, hidden: bool) -> bytes:
    data = UploadHiding(item_id="a", hidden=hidden)
    return encode(UploadHidden(id="e", source="t", time=NOW, subject="a", data=data))


def test_whoever_did_something_with_a_video_must_not_be_shown_it_again_and_others_may() -> None:
    told = list(of_interactions(record(encode_frame([did(Impression), did(Click, "b")])), 10.0))
    mine = Shown("homepage", 12.0, 12.1, 200, frozenset(("a", of_viewer("a", "u"))))
    others = Shown("homepage", 12.0, 12.1, 200, frozenset(("a", of_viewer("a", "v"))))
    assert len(shown_late([mine], told)) == 1
    assert shown_late([others], told) == []


def test_searching_and_following_are_about_no_video() -> None:
    assert list(of_interactions(record(encode_frame([did(Search, None), did(Follow)])), 10.0)) == []


def test_what_its_owner_hides_is_gone_for_all_and_comes_back_and_what_is_deleted_does_not() -> None:
    answer = Shown("homepage", 30.0, 30.1, 200, frozenset(("a",)))
    gone = list(of_uploads(record(hidden(hidden=True)), 10.0))
    assert len(shown_late([answer], gone)) == 1
    back = [*gone, *of_uploads(record(hidden(hidden=False)), 20.0)]
    assert shown_late([answer], back) == []
    deleted = UploadDeleted(id="e", source="t", time=NOW, subject="a", data=ItemRef(item_id="a"))
    assert len(shown_late([answer], [*back, *of_uploads(record(encode(deleted)), 25.0)])) == 1


def test_what_cannot_be_read_tells_nothing() -> None:
    assert list(of_uploads(record(b"{"), 1.0)) == list(of_interactions(record(b"[]x"), 1.0)) == []
