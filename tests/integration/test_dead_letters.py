"""Dead letters on a real broker: buried by a worker, listed, replayed once their cause is gone, dropped."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from core import topics
from core.errors import NotFound
from core.events import UploadChange, UploadChanged
from core.ports import OutgoingRecord
from core.settings import CatalogueSettings, ProducerSettings
from infra.ports import free_port
from storage.catalogue import Catalogue
from storage.log.producer import KafkaPublisher
from streams.dead_letters import drop, list_dead_letters, replay, select, show
from tests.integration.stream_harness import make_topics, publish, until, upload, upload_records, worker

pytestmark = pytest.mark.integration


def test_a_change_before_its_create_is_buried_and_a_replay_applies_it(tmp_path: Path, embedded_bootstrap: str):
    bootstrap = embedded_bootstrap
    make_topics(bootstrap)
    create = upload(1, "dlq")
    changed = UploadChanged(
        id="evt-dlq-change", source="test", time=create.time + timedelta(seconds=1), subject="dlq-1",
        data=UploadChange(item_id="dlq-1", title="after"),
    )  # fmt: skip
    publish(bootstrap, [*upload_records([changed]), OutgoingRecord(topics.UPLOADS.name, "dlq-1", b"dlq rubbish")])

    def open_letters() -> list[str]:
        found = list_dead_letters(bootstrap, topics.UPLOADS.name)
        return [letter.id for letter in found if letter.id == changed.id or letter.value == b"dlq rubbish"]

    catalogue = Catalogue.open(f"sqlite:///{tmp_path / 'catalogue.db'}", CatalogueSettings())
    publisher = KafkaPublisher(bootstrap, ProducerSettings(), client_id="test-dlq")
    with worker(tmp_path, bootstrap, "index-upload", free_port(), "tests.integration.stream_worker"):
        until(lambda: len(open_letters()) == 2, "both are dead letters")
        letter = show(bootstrap, changed.id)
        assert (letter.code, letter.agent, letter.topic) == ("not-found", "index-upload", topics.UPLOADS.name)
        publish(bootstrap, upload_records([create]))
        until(lambda: catalogue.item("dlq-1"), "the create is applied")
        chosen = select(list_dead_letters(bootstrap), changed.id)
        assert asyncio.run(replay(publisher, chosen)) == 1
        until(lambda: catalogue.item("dlq-1").title == "after", "the replayed change is applied")
    rubbish = [
        letter for letter in list_dead_letters(bootstrap, code="invalid-event") if letter.value == b"dlq rubbish"
    ]
    assert asyncio.run(drop(publisher, rubbish)) == 1
    assert open_letters() == []
    states = {letter.id: letter.state for letter in list_dead_letters(bootstrap, settled=True)}
    assert (states[changed.id], states[rubbish[0].id]) == ("replayed", "dropped")
    with pytest.raises(NotFound):
        show(bootstrap, "no-such-letter")
    publisher.close()
    catalogue.close()
