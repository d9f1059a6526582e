import pytest

from core.errors import Unavailable
from core.ports import OutgoingRecord
from core.settings import CatalogueSettings, StreamSettings
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from storage.catalogue import Catalogue
from streams.outbox_relay import OutboxRelay
from tests.fakes.publisher import FakePublisher


@pytest.fixture
def catalogue(tmp_path):
    opened = Catalogue.open(f"sqlite:///{tmp_path / 'c.db'}", CatalogueSettings())
    yield opened
    opened.close()


def rows(*names: str, size: int = 1) -> list[OutgoingRecord]:
    return [OutgoingRecord("content.uploads.v1", name, b"x" * size, {"h": b"1"}) for name in names]


async def test_rows_are_sent_in_order_and_leave_the_outbox(catalogue):
    publisher, recorder = FakePublisher(), Recorder()
    relay = OutboxRelay(catalogue, publisher, recorder, StreamSettings())
    catalogue.outbox_add(rows("a", "b", "c"))
    assert await relay.relay_once() == 3
    assert [record.key for record in publisher.records] == ["a", "b", "c"]
    assert catalogue.outbox_size() == 0
    assert recorder.value(metrics.OUTBOX_PENDING) == 0


async def test_what_the_broker_did_not_acknowledge_stays_in_the_outbox(catalogue):
    publisher = FakePublisher()
    relay = OutboxRelay(catalogue, publisher, Recorder(), StreamSettings())
    catalogue.outbox_add(rows("a"))
    publisher.down = True
    with pytest.raises(Unavailable):
        await relay.relay_once()
    assert catalogue.outbox_size() == 1
    publisher.down = False
    assert await relay.relay_once() == 1


async def test_a_row_that_can_never_be_sent_does_not_hold_up_the_others(catalogue, logs):
    publisher = FakePublisher()
    catalogue.outbox_add([*rows("a"), *rows("huge", size=2 * 1024 * 1024), *rows("b")])
    await OutboxRelay(catalogue, publisher, Recorder(), StreamSettings()).relay_once()
    assert [record.key for record in publisher.records] == ["a", "b"]
    assert catalogue.outbox_size() == 0
    assert any(line["log_level"] == "error" and line["key"] == "huge" for line in logs)
