"""A home folder with an archive of videos and of what people did, and a small trained system in the registry."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np

from core.events import (
    Event,
    Interaction,
    Upload,
    UploadCreated,
    UserChanged,
    UserErased,
    UserProfile,
    UserRef,
    Watch,
    Watched,
    encode,
)
from core.ids import media_id
from core.ports import StoredRecord
from core.topics import INTERACTIONS, UPLOADS, USERS
from features.archive import ArchiveWriter
from infra.recommendation_stream import read_platform
from models.recommendation.content import ContentBased
from models.recommendation.described import USER_COLUMNS, VIDEO_COLUMNS, described
from models.recommendation.feedback import Feedback
from models.recommendation.item_weights import Ease, EaseConfig, Transitions
from models.recommendation.labels import label
from models.recommendation.learning.round import table_over
from models.recommendation.learning.traffic import part, traffic_of
from models.recommendation.popularity import Popularity
from models.recommendation.ranker import RankerConfig
from models.recommendation.system import FullSystem, SystemConfig
from models.recommendation.towers import TowerConfig
from models.recommendation.two_tower import TwoTower
from models.recommendation.weights import save_model
from models.registry.manifest import WEIGHTS, Manifest, file_sha256
from models.registry.packaged import open_registry

MODEL = "recommendation-quick-system"
START = datetime(2026, 11, 1, tzinfo=UTC)
EPOCH = "e"
USERS_N, ITEMS_N, EACH = 60, 40, 12
HALF = USERS_N * EACH // 2


def write_home(home: Path, *, interactions: list[Event] | None = None) -> None:
    """Archive people, videos (even and odd ones, and an image), and what was watched: evens by evens."""
    uploads: list[Event] = [
        upload(f"i{item}", category="calm" if item % 2 == 0 else "loud", title=f"film {item}")
        for item in range(ITEMS_N)
    ]
    uploads.append(upload("picture", kind="image"))
    people: list[Event] = [profile(f"u{user}", f"{user % 2}") for user in range(USERS_N)]
    people.append(UserErased(id="gone", source="t", time=START, subject="u0", data=UserRef(user_id="u0")))
    archive(home, UPLOADS.name, uploads)
    archive(home, USERS.name, people)
    archive(home, INTERACTIONS.name, watches() if interactions is None else interactions)


def watches(*, each: int = EACH, seed: int = 0, first_minute: float = 0.0, prefix: str = "w") -> list[Event]:
    """Every user watches a video a round, near the one before."""
    rng = np.random.default_rng(seed)
    last = [int(rng.integers(ITEMS_N // 2)) for _ in range(USERS_N)]
    events: list[Event] = []
    for number in range(each * USERS_N):
        user = number % USERS_N
        last[user] = (last[user] + int(rng.integers(1, 3))) % (ITEMS_N // 2)
        item = f"i{2 * last[user] + user % 2}"
        at = START + timedelta(minutes=first_minute + number)
        data = Interaction(user_id=f"u{user}", item_id=item, surface="home", value=Watched(seconds=90, of_s=100))
        events.append(Watch(id=f"{prefix}{number}", source="t", time=at, subject=f"u{user}", data=data))
    return events


def profile(user_id: str, age_band: str) -> Event:
    data = UserProfile(user_id=user_id, age_band=age_band)
    return UserChanged(id=f"p-{user_id}", source="t", time=START, subject=user_id, data=data)


def upload(
    item_id: str,
    *,
    kind: Literal["image", "video"] = "video",
    category: str = "",
    title: str = "",
    owner: str = "maker",
) -> Event:
    data = Upload(
        item_id=item_id, owner_id=owner, kind=kind, media_id=media_id(item_id.encode()), title=title, category=category
    )
    return UploadCreated(id=f"up-{item_id}", source="t", time=START, subject=item_id, data=data)


def archive(home: Path, topic: str, events: list[Event], *, first: int = 0) -> None:
    records = [
        StoredRecord(topic, 0, first + n, e.subject, encode(e), {}, int(e.time.timestamp() * 1000))
        for n, e in enumerate(events)
    ]
    ArchiveWriter(home / "archive").write(topic, records, epoch=EPOCH)


def small_system() -> FullSystem:
    config = SystemConfig(each=10, held_out=2, ranker=RankerConfig(hidden=16, attention=8, epochs=3, batch_users=16))
    towers = TwoTower(TowerConfig(dim=16, epochs=8, heads=2, random_negatives=8, negatives=16, batch_users=16))
    return FullSystem(config, [towers, Ease(EaseConfig(l2=5)), Transitions(), ContentBased(), Popularity()])


def first_half(home: Path) -> Feedback:
    """The feedback of the first half of the archived interactions, with what is known of videos and people."""
    platform = read_platform(home / "archive")
    traffic = traffic_of(platform.known_to(()), None, ())
    log = part(traffic.log, traffic.offset < HALF)
    items, users = described(platform.videos, VIDEO_COLUMNS), described(platform.users, USER_COLUMNS)
    assert items is not None and users is not None
    return replace(
        label(log),
        item_table=table_over(log.items, items.encoder, base=None, described=items, rows=platform.videos),
        user_table=table_over(log.users, users.encoder, base=None, described=users, rows=platform.users),
    )


def register_base(home: Path, tmp: Path, **data: object) -> str:
    """Train on the first half, register as champion, with that position; return the version."""
    feedback = first_half(home)
    model = small_system()
    model.fit(feedback)
    tmp.mkdir(parents=True, exist_ok=True)
    save_model(model, feedback, tmp / WEIGHTS)
    learned = {"learned": {EPOCH: {"0": HALF}}, "archive": True, "pairs": len(feedback.positives())}
    Manifest(MODEL, file_sha256(tmp / WEIGHTS), START.isoformat(), "1", "test", 0, data={**learned, **data}).write(tmp)
    return open_registry(home).register(MODEL, tmp, alias="champion").version
