"""Connections: which URLs are taken, and what SQLite is asked to promise."""

from pathlib import Path

import pytest

from core.errors import ConfigurationError, Unavailable
from core.settings import CatalogueSettings
from storage.catalogue import Catalogue
from storage.catalogue.database import Database


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/db", "not a url", "nonsense+x://y"])
def test_a_url_that_cannot_hold_a_store_of_record_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"catalogue\.url"):
        Database(url, CatalogueSettings())


def test_sqlite_is_set_up_to_survive_a_power_loss_and_to_wait_for_other_writers(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalogue.db'}"
    Catalogue.open(url, CatalogueSettings()).close()
    database = Database(url, CatalogueSettings(busy_timeout_s=3.5))
    with database.reading() as connection:
        answers = {
            pragma: connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
            for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    database.close()
    assert answers == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 3500}  # 2 is FULL


def test_a_writer_that_waits_too_long_is_told_that_the_catalogue_is_unavailable(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalogue.db'}"
    first = Catalogue.open(url, CatalogueSettings(busy_timeout_s=0.05))
    second = Database(url, CatalogueSettings())
    with second.writing():
        with pytest.raises(Unavailable, match="locked"):
            first.apply_items("c", [("event-1", None)])
    first.apply_items("c", [("event-1", None)])
    assert first.seen("c", ["event-1"]) == {"event-1"}
    first.close()
    second.close()


def test_a_reader_is_not_kept_waiting_by_a_writer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalogue.db'}"
    catalogue = Catalogue.open(url, CatalogueSettings(busy_timeout_s=0.05))
    other = Database(url, CatalogueSettings())
    with other.writing():
        assert catalogue.count_items() == {"active": 0, "hidden": 0, "deleted": 0}
    catalogue.close()
    other.close()


def test_a_transaction_that_raises_leaves_nothing_behind(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalogue.db'}"
    catalogue = Catalogue.open(url, CatalogueSettings())
    database = Database(url, CatalogueSettings())
    with pytest.raises(RuntimeError), database.writing() as connection:
        connection.exec_driver_sql("INSERT INTO aliases VALUES ('model', 'champion', 'v1')")
        raise RuntimeError("half-way")
    assert catalogue.alias("model", "champion") is None
    catalogue.close()
    database.close()


def test_an_unreachable_server_is_unavailable_and_its_password_is_not_shown() -> None:
    with pytest.raises(Unavailable) as caught:
        Catalogue.open("postgresql://user:hunter2@127.0.0.1:1/db", CatalogueSettings())
    assert "hunter2" not in str(caught.value)
