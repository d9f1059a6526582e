"""The schema comes up to date by itself, once, on SQLite and on PostgreSQL; a newer one is left alone."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from core.errors import IntegrityError
from core.settings import CatalogueSettings
from storage.catalogue import Catalogue
from storage.catalogue.base import Base
from storage.catalogue.database import Database
from tests.postgres import postgres_server

__all__ = ["postgres_server"]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'a' / 'new folder' / 'catalogue.db'}"
    new_database: Callable[[], str] = request.getfixturevalue("postgres_server")
    return new_database()


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(url: str) -> None:
    Catalogue.open(url, CatalogueSettings()).close()
    database = Database(url, CatalogueSettings())
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert len(inspect(connection).get_table_names()) == len(Base.metadata.tables) + 1
    database.close()


def test_a_schema_from_a_newer_release_is_refused_and_left_as_it_is(url: str) -> None:
    Catalogue.open(url, CatalogueSettings()).close()
    database = Database(url, CatalogueSettings())
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(IntegrityError, match="9999, which this release does not know"):
        Catalogue.open(url, CatalogueSettings())
    with database.reading() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    database.close()


def test_processes_and_threads_that_open_at_once_migrate_once(url: str) -> None:
    program = (
        "import sys\n"
        "from core.settings import CatalogueSettings\n"
        "from storage.catalogue import Catalogue\n"
        "sys.stdin.readline()\n"
        "Catalogue.open(sys.argv[1], CatalogueSettings()).close()\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, url], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    failures: list[BaseException] = []

    def open_here() -> None:
        try:
            Catalogue.open(url, CatalogueSettings()).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_here) for _ in range(3)]
    for thread in threads:
        thread.start()
    outcomes = [process.communicate("go\n", timeout=60) for process in processes]
    for thread in threads:
        thread.join()
    assert failures == []
    assert [(process.returncode, errors) for process, (_, errors) in zip(processes, outcomes, strict=True)] == [
        (0, "")
    ] * 2
    catalogue = Catalogue.open(url, CatalogueSettings())
    assert catalogue.count_items() == {"active": 0, "hidden": 0, "deleted": 0}
    catalogue.close()
