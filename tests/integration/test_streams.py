"""Workers on a real broker: killed, stopped, fed poison, and joined by a second one. Nothing lost, effects once."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from core import topics
from core.entries import VERSION_HEADER, Version, decode_entry
from core.events import ItemRef, UploadDeleted, UploadHidden, UploadHiding, encode
from core.ports import OutgoingRecord
from core.settings import CatalogueSettings
from infra.ports import free_port
from storage.catalogue import Catalogue
from storage.log.reader import read_all
from streams import dead_letter_record as letters
from tests.integration.stream_harness import (
    START,
    WorkerProcess,
    make_topics,
    publish,
    until,
    upload,
    upload_records,
    worker,
)
from tests.integration.stream_worker import UNDECODABLE

pytestmark = pytest.mark.integration
MODULE = "tests.integration.stream_worker"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def broker(embedded_bootstrap: str) -> str:
    make_topics(embedded_bootstrap)
    return embedded_bootstrap


@pytest.fixture
def catalogue(home: Path):
    opened = Catalogue.open(f"sqlite:///{home / 'catalogue.db'}", CatalogueSettings())
    yield opened
    opened.close()


def present(catalogue: Catalogue, names: list[str]) -> int:
    return len(catalogue.items(names))


def entries(bootstrap: str, prefix: str) -> Counter:
    """How often each (item, version) was published; a version twice is a repetition that the index ignores."""
    found: Counter = Counter()
    for record in read_all(bootstrap, topics.INDEX_ENTRIES.name):
        if record.key.startswith(prefix) and record.value is not None:
            found[record.key, decode_entry(record.value).version] += 1
    return found


def dead(bootstrap: str, prefix: str) -> dict[str, bytes]:
    records = read_all(bootstrap, topics.UPLOADS.dlq)
    return {record.key: record.headers[letters.CODE] for record in records if record.key.startswith(prefix)}


def run(home: Path, broker: str, **settings: str):
    return worker(home, broker, "index-upload", free_port(), MODULE, **settings)


def test_a_worker_killed_in_the_middle_loses_nothing_and_applies_nothing_twice(home, broker, catalogue):
    names = [f"kill-{number}" for number in range(400)]
    with run(home, broker) as first:
        publish(broker, upload_records([upload(number, "kill") for number in range(400)]))
        until(lambda: present(catalogue, names) >= 60, "some items are applied")
        first.kill()
    assert present(catalogue, names) < 400, "the worker was killed too late to prove anything"
    with run(home, broker):
        until(lambda: present(catalogue, names) == 400, "the second worker applied the rest")
    versions = Counter(item for item, _ in entries(broker, "kill-"))
    assert set(versions) == set(names)
    assert set(versions.values()) == {1}  # one version each: effects once, whatever was delivered twice
    assert dead(broker, "evt-kill-") == {}


def test_sigterm_in_the_middle_stops_within_ten_seconds_and_the_next_worker_goes_on(home, broker, catalogue):
    names = [f"term-{number}" for number in range(400)]
    with run(home, broker) as first:
        publish(broker, upload_records([upload(number, "term") for number in range(400)]))
        until(lambda: present(catalogue, names) >= 60, "some items are applied")
        code, took_s = first.terminate()
    assert code == 0, first.output()[-2000:]
    assert took_s < 10
    before = present(catalogue, names)
    assert before < 400, "the worker was stopped too late to prove anything"
    with run(home, broker) as second:
        until(lambda: present(catalogue, names) == 400, "the second worker applied the rest")
        delivered = second.metric("riverlight_stream_events_total", agent="index-upload", outcome="duplicate")
    assert set(entries(broker, "term-").values()) == {1}
    assert delivered == 0, "a clean stop commits what it applied"


def test_poison_becomes_dead_letters_and_its_neighbours_in_the_frame_are_applied(home, broker, catalogue):
    good = upload(1, "frame")
    late_hide = UploadHidden(
        id="evt-frame-hide", source="test", time=START, subject="frame-9", data=UploadHiding(item_id="frame-9")
    )
    bad = b'{"id": "evt-frame-bad", "type": "riverlight.upload.created"}'
    undecodable = upload(2, "frame", UNDECODABLE)
    frame = b"[" + b",".join([encode(good), bad, encode(undecodable), encode(late_hide)]) + b"]"
    publish(
        broker,
        [
            OutgoingRecord(topics.UPLOADS.name, "frame-1", frame),
            OutgoingRecord(topics.UPLOADS.name, "frame-1", b"\x00 not json"),
            *upload_records([upload(3, "frame")]),
        ],
    )
    with run(home, broker) as running:
        until(lambda: present(catalogue, ["frame-1", "frame-3", "frame-9"]) == 3, "the good ones are applied")
        until(lambda: len(dead(broker, "evt-frame-")) == 2, "two dead letters with ids")
        until(lambda: running.get("/readyz")[0] == 200, "ready")
    assert dead(broker, "evt-frame-") == {"evt-frame-bad": b"invalid-event", "evt-frame-2": b"undecodable-media"}
    originals = {record.key: record.value for record in read_all(broker, topics.UPLOADS.dlq)}
    assert originals["evt-frame-bad"] == bad
    assert originals[letters.letter_id(b"\x00 not json")] == b"\x00 not json"


def test_a_deletion_leaves_a_tombstone_and_the_late_create_stays_out(home, broker, catalogue):
    create = upload(5, "gone")
    after = create.time + timedelta(seconds=1)
    data = ItemRef(item_id="gone-5")
    delete = UploadDeleted(id="evt-gone-delete", source="test", time=after, subject="gone-5", data=data)
    publish(broker, upload_records([delete]))
    with run(home, broker):
        until(lambda: present(catalogue, ["gone-5"]) == 1, "the deletion is remembered")
        publish(broker, upload_records([create, upload(6, "gone")]))
        until(lambda: catalogue.seen("index-upload", [create.id]), "the late create is settled")
        until(lambda: present(catalogue, ["gone-6"]) == 1, "the other item is applied")
    assert catalogue.item("gone-5").state == "deleted"
    assert {item for item, _ in entries(broker, "gone-")} == {"gone-6"}
    (tombstone,) = [
        record
        for record in read_all(broker, topics.INDEX_ENTRIES.name)
        if record.key == "gone-5" and record.value is None
    ]
    assert Version.from_header(tombstone.headers[VERSION_HEADER]).time_us == Version.of(after, 0).time_us


def test_a_second_worker_shares_the_work_and_takes_over_when_the_first_dies(home, broker, catalogue):
    names = [f"share-{number}" for number in range(600)]
    with run(home, broker) as first:
        first.wait_ready()
        publish(broker, upload_records([upload(number, "share") for number in range(300)]))
        with run(home, broker) as second:
            second.wait_ready()
            publish(broker, upload_records([upload(number, "share") for number in range(300, 600)]))
            until(lambda: applied(second) > 0, "the second worker got partitions and applied events", 90)
            first.kill()
            until(lambda: present(catalogue, names) == 600, "everything is applied", 90)
    versions = Counter(item for item, _ in entries(broker, "share-"))
    assert set(versions) == set(names)
    assert set(versions.values()) == {1}


def test_the_only_port_a_worker_listens_on_is_its_metrics_on_loopback(home, broker):
    with run(home, broker) as running:
        running.wait_ready()
        listening = [
            tuple(connection.laddr)
            for connection in psutil.Process(running.process.pid).net_connections()
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening == [("127.0.0.1", running.port)]
        assert "riverlight_stream_batch_seconds" in running.get("/metrics")[1] or running.get("/livez")[0] == 200


def applied(running: WorkerProcess) -> float:
    return running.metric("riverlight_stream_events_total", agent="index-upload", outcome="applied")
