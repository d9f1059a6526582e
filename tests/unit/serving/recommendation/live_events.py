"""Makes events for the live state. Times are seconds after `START`."""

import hashlib
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from core import events
from core.events import Interaction, ItemRef, Upload, UploadChange, UploadHiding, UserProfile, UserRef, Watched

START = datetime(2026, 11, 1, tzinfo=UTC)
_numbers = count()


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def make(kind: type, subject: str, data: Any, seconds: float, event_id: str | None = None) -> Any:
    event_id = event_id or f"evt-{next(_numbers)}"
    return kind(id=event_id, source="test", time=at(seconds), subject=subject, data=data)


def created(item_id: str, seconds: float = 0.0, **fields: Any) -> events.UploadCreated:
    values = {"owner_id": "maker", "kind": "video", "media_id": hashlib.sha256(item_id.encode()).hexdigest(), **fields}
    return make(events.UploadCreated, item_id, Upload(item_id=item_id, **values), seconds)


def changed(item_id: str, seconds: float, **fields: Any) -> events.UploadChanged:
    return make(events.UploadChanged, item_id, UploadChange(item_id=item_id, **fields), seconds)


def hidden(item_id: str, seconds: float, hidden: bool = True) -> events.UploadHidden:
    return make(events.UploadHidden, item_id, UploadHiding(item_id=item_id, hidden=hidden), seconds)


def deleted(item_id: str, seconds: float) -> events.UploadDeleted:
    return make(events.UploadDeleted, item_id, ItemRef(item_id=item_id), seconds)


def did(kind: str, user_id: str, item_id: str | None, seconds: float, **fields: Any) -> Any:
    """`kind` is the class's name, such as `Click`."""
    return make(getattr(events, kind), user_id, Interaction(user_id=user_id, item_id=item_id, **fields), seconds)


def watched(user_id: str, item_id: str, seconds: float, share: float = 1.0) -> events.Watch:
    return did("Watch", user_id, item_id, seconds, value=Watched(seconds=60 * share, of_s=60))


def profile(user_id: str, seconds: float = 0.0, **fields: Any) -> events.UserChanged:
    return make(events.UserChanged, user_id, UserProfile(user_id=user_id, **fields), seconds)


def erased(user_id: str, seconds: float) -> events.UserErased:
    return make(events.UserErased, user_id, UserRef(user_id=user_id), seconds)
