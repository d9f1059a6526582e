"""Fixtures: moderation's store over SQLite and over a real PostgreSQL. A test module imports them by name:

from tests.moderation_store import catalogue, clock, migrated_database, migrated_file, postgres_server, store
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from core import topics
from core.settings import CatalogueSettings
from storage.catalogue import Catalogue
from storage.catalogue.base import Base
from storage.moderation import ModerationStore
from tests.moderation_records import SetClock
from tests.postgres import postgres_server

__all__ = ["catalogue", "clock", "migrated_database", "migrated_file", "postgres_server", "published", "store"]


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with empty tables, to copy: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "catalogue.db"
    Catalogue.open(f"sqlite:///{path}", CatalogueSettings()).close()
    return path


@pytest.fixture(scope="session")
def migrated_database(postgres_server: Callable[[], str]) -> str:
    """A PostgreSQL database with tables; each test empties them before it begins."""
    url = postgres_server()
    Catalogue.open(url, CatalogueSettings()).close()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def catalogue(request: pytest.FixtureRequest, tmp_path: Path, clock: SetClock) -> Iterator[Catalogue]:
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "catalogue.db")
        url = f"sqlite:///{tmp_path / 'catalogue.db'}"
    else:
        url = request.getfixturevalue("migrated_database")
    opened = Catalogue.open(url, CatalogueSettings(), clock=clock)
    if request.param == "postgresql":
        with opened.database.writing() as connection:
            names = ", ".join(Base.metadata.tables)
            connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
    yield opened
    opened.close()


@pytest.fixture
def store(catalogue: Catalogue, clock: SetClock) -> ModerationStore:
    return ModerationStore(catalogue.database, clock)


def published(catalogue: Catalogue, topic: topics.Topic) -> list[bytes | None]:
    """Return what waits in the outbox for a topic, oldest first."""
    return [record.value for _, record in catalogue.outbox_pending(10_000) if record.topic == topic.name]
