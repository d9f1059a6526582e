"""Records that cannot be handled, one sort for each way of being wrong, each labelled with the code it ends with."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from core import topics
from core.events import Click, Interaction, Upload, UploadChange, UploadChanged, UploadCreated, encode
from core.ids import media_id
from infra.chaos.ledger import SOURCE, Ledger, Sent
from streams.dead_letter_record import letter_id

INVALID = "invalid-event"
#: In the item id of events on which the faulty worker's handler raises, or hangs.
RAISES, HANGS = "-raises-", "-hangs-"
_ONE_MIB_LESS_OVERHEAD = 1024 * 1024 - 2_000


def with_poison(
    ledger: Ledger, share: float, *, start: datetime, uploads: bool, undecodable: str = "", faults: bool = False
) -> Ledger:
    """Return the ledger with poisonous records at random places.

    Args:
        ledger: the good events.
        share: of the records.
        start: when the poison claims to have happened.
        uploads: also poison the uploads; `undecodable` is then the id of stored media that is no image.
        faults: also events that are good, but on which a faulty worker's handler raises or hangs.
    """
    rng = random.Random(ledger.seed + 1)
    makers: list[Callable[[str, random.Random, datetime], Sent]] = [*_INTERACTIONS]
    if uploads:
        makers += [*_UPLOADS, lambda name, rng, start: _undecodable(name, start, undecodable)]
    if faults:
        makers += [_raises, _hangs]
    sent = list(ledger.sent)
    for number in range(max(len(makers), round(len(sent) * share))):
        name = f"{ledger.run}-p{number:05d}"
        poisoned = makers[number % len(makers)](name, rng, start)
        sent.insert(rng.randrange(len(sent) + 1), poisoned)
    return replace(ledger, sent=tuple(replace(one, number=number) for number, one in enumerate(sent)))


def cured(ledger: Ledger) -> Ledger:
    """Return the ledger as it is once the handler is mended: events on which it raised or hung are good."""
    return replace(
        ledger,
        sent=tuple(
            replace(one, good=one.spoiled, letters={}, spoiled=()) if one.spoiled else one for one in ledger.sent
        ),
    )


def _interaction(name: str, start: datetime, *, item: str = "") -> Click:
    user = f"{name}-user"
    data = Interaction(user_id=user, item_id=item or f"{name}-item", surface="home")
    return Click(id=name, source=SOURCE, time=start, subject=user, data=data)


def _letter(name: str, value: bytes, code: str = INVALID, topic: str = topics.INTERACTIONS.name) -> Sent:
    return Sent(0, topic, f"{name}-user", value, letters={letter_id(value): code})


def _broken_json(name: str, rng: random.Random, start: datetime) -> Sent:
    value = encode(_interaction(name, start))
    return _letter(name, value[: rng.randrange(len(name) + 20, len(value) - 1)])


def _not_text(name: str, rng: random.Random, start: datetime) -> Sent:
    return _letter(name, b"\x00\xff\xfe" + name.encode() + rng.randbytes(50))


def _wrong_schema(name: str, rng: random.Random, start: datetime) -> Sent:
    document = json.loads(encode(_interaction(name, start)))
    del document["data"][rng.choice(("user_id", "item_id"))]
    return _letter(name, json.dumps(document).encode())


def _unknown_type(name: str, rng: random.Random, start: datetime) -> Sent:
    document = {**json.loads(encode(_interaction(name, start))), "type": "riverlight.interaction.nod"}
    return _letter(name, json.dumps(document).encode())


def _huge(name: str, rng: random.Random, start: datetime) -> Sent:
    event = _interaction(name, start)
    event = Click(
        id=event.id, source=SOURCE, time=start, subject=event.subject,
        data=Interaction(user_id=event.subject, item_id="i", value="x" * (_ONE_MIB_LESS_OVERHEAD - len(name) * 3)),
    )  # fmt: skip
    return _letter(name, encode(event))


def _control_character(name: str, rng: random.Random, start: datetime) -> Sent:
    document = json.loads(encode(_interaction(name, start)))
    document["data"]["item_id"] = "item\x00null"
    return _letter(name, json.dumps(document).encode())


def _not_a_number(name: str, rng: random.Random, start: datetime) -> Sent:
    document = json.loads(encode(_interaction(name, start)))
    document["data"]["value"] = {"seconds": float(rng.choice(("nan", "inf", "-inf")))}
    return _letter(name, json.dumps(document).encode())


def _bad_event_in_frame(name: str, rng: random.Random, start: datetime) -> Sent:
    good = _interaction(f"{name}-good", start)
    bad = json.dumps({"id": name, "type": "riverlight.interaction.click"}).encode()
    value = b"[" + encode(good) + b"," + bad + b"]"
    return Sent(0, topics.INTERACTIONS.name, good.subject, value, (good,), {name: INVALID})


def _raises(name: str, rng: random.Random, start: datetime) -> Sent:
    event = _interaction(name, start, item=f"{name}{RAISES}item")
    return Sent(0, topics.INTERACTIONS.name, event.subject, encode(event), (), {name: "internal"}, (event,))


def _hangs(name: str, rng: random.Random, start: datetime) -> Sent:
    event = _interaction(name, start, item=f"{name}{HANGS}item")
    return Sent(0, topics.INTERACTIONS.name, event.subject, encode(event), (), {name: "deadline"}, (event,))


def _upload(name: str, start: datetime, media: str) -> UploadCreated:
    data = Upload(item_id=f"{name}-item", owner_id=f"{name}-owner", kind="image", media_id=media)
    return UploadCreated(id=name, source=SOURCE, time=start, subject=data.item_id, data=data)


def _missing_media(name: str, rng: random.Random, start: datetime) -> Sent:
    event = _upload(name, start, media_id(name.encode()))
    return Sent(0, topics.UPLOADS.name, event.subject, encode(event), (), {name: "missing-media"})


def _change_of_nothing(name: str, rng: random.Random, start: datetime) -> Sent:
    item = f"{name}-item"
    event = UploadChanged(
        id=name, source=SOURCE, time=start, subject=item, data=UploadChange(item_id=item, title="of nothing")
    )
    return Sent(0, topics.UPLOADS.name, item, encode(event), (), {name: "not-found"})


def _broken_upload(name: str, rng: random.Random, start: datetime) -> Sent:
    value = encode(_upload(name, start, media_id(b"")))[: -rng.randrange(2, 40)]
    return _letter(name, value, topic=topics.UPLOADS.name)


def _undecodable(name: str, start: datetime, media: str) -> Sent:
    event = _upload(name, start, media)
    return Sent(0, topics.UPLOADS.name, event.subject, encode(event), (), {name: "undecodable-media"})


_INTERACTIONS: Sequence[Callable[[str, random.Random, datetime], Sent]] = (
    _broken_json, _not_text, _wrong_schema, _unknown_type, _huge, _control_character, _not_a_number,
    _bad_event_in_frame,
)  # fmt: skip
_UPLOADS: Sequence[Callable[[str, random.Random, datetime], Sent]] = (
    _missing_media, _change_of_nothing, _broken_upload,
)  # fmt: skip
