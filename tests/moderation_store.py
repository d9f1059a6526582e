"""Fixtures: moderation's store over SQLite and over a real PostgreSQL. A test module imports them by name:

from tests.moderation_store import catalogue, clock, postgres_server, store
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core import topics
from core.settings import CatalogueSettings
from storage.catalogue import Catalogue
from storage.moderation import ModerationStore
from tests.moderation_records import SetClock
from tests.postgres import postgres_server

__all__ = ["catalogue", "clock", "postgres_server", "published", "store"]


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def catalogue(request: pytest.FixtureRequest, tmp_path: Path, clock: SetClock) -> Iterator[Catalogue]:
    url = f"sqlite:///{tmp_path / 'catalogue.db'}"
    if request.param == "postgresql":
        new_database: Callable[[], str] = request.getfixturevalue("postgres_server")
        url = new_database()
    opened = Catalogue.open(url, CatalogueSettings(), clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def store(catalogue: Catalogue, clock: SetClock) -> ModerationStore:
    return ModerationStore(catalogue.database, clock)


def published(catalogue: Catalogue, topic: topics.Topic) -> list[bytes | None]:
    """Return what waits in the outbox for a topic, oldest first."""
    return [record.value for _, record in catalogue.outbox_pending(10_000) if record.topic == topic.name]
