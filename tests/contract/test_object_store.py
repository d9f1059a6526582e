"""What every ObjectStore does: the fake, memory, a folder, and S3 (a stand-in server that speaks its four verbs)."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import obstore
import pytest

from core.errors import IntegrityError, InvalidInput, MissingMedia
from core.ids import media_id
from core.ports import ObjectStore
from storage.objects import BucketObjectStore, open_object_store
from tests.fakes.object_store import FakeObjectStore

DATA = b"\x89PNG not really"
ABSENT = hashlib.sha256(b"never stored").hexdigest()
NOT_IDS = [
    "", " ", ".", "..", "/", "//", "../", "../../etc/passwd", "/etc/passwd", "~/.ssh/id_rsa", "a", "0" * 63, "0" * 65,
    "G" * 64, "A" * 64, "0" * 64 + "\n", "\n" + "0" * 64, " " + "0" * 63, "0" * 63 + " ", "0" * 62 + "..",
    "../" + "0" * 61, "0" * 30 + "/../" + "0" * 30, "..%2f" + "0" * 59, "%2e%2e%2f" + "0" * 55, "..\\" + "0" * 61,
    "C:\\" + "0" * 61, "file:///" + "0" * 56, "sha256/" + "0" * 57, "sha256:" + "0" * 64, "0x" + "0" * 62,
    "\x00" * 64, "0" * 63 + "\x00", "０" * 64, "٠" * 64, "é" * 64, "-" + "0" * 63, "0" * 32 + "-" + "0" * 31,
    "*" * 64, "0" * 63 + "?", "$(id)" + "0" * 59,
]  # fmt: skip


@dataclass
class Adapter:
    """A store, and a way to damage what lies under an id."""

    store: ObjectStore
    damage: Callable[[str], None]


class S3StandIn(BaseHTTPRequestHandler):
    """Keeps objects by path. Not S3: enough of it to show which requests are made and how answers are read."""

    objects: dict[str, bytes]

    def do_PUT(self) -> None:
        self.objects[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, b"")

    def do_GET(self) -> None:
        self._answer(200, self.objects[self.path]) if self.path in self.objects else self._answer(404, b"")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.objects.pop(self.path, None)
        self._answer(204, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"etag"')
        self.send_header("Last-Modified", "Sun, 22 Nov 2026 10:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(params=["fake", "memory", "folder", "s3"])
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    match request.param:
        case "fake":
            fake = FakeObjectStore()
            yield Adapter(fake, lambda digest: fake.objects.update({digest: b"damaged"}))
        case "memory":
            memory = open_object_store("memory://")
            assert isinstance(memory, BucketObjectStore)
            path = "sha256/{0:.2}/{1:.2}/{0}"
            yield Adapter(memory, lambda d: obstore.put(memory._store, path.format(d, d[2:]), b"damaged") and None)
        case "folder":
            store = open_object_store((tmp_path / "a folder").as_uri())
            root = tmp_path / "a folder" / "sha256"
            yield Adapter(store, lambda d: (root / d[:2] / d[2:4] / d).write_bytes(b"damaged") and None)
        case "s3":
            handler = type("Handler", (S3StandIn,), {"objects": {}})
            with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
                threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
                endpoint = f"http://127.0.0.1:{server.server_port}"
                store = open_object_store(
                    f"s3://bucket/prefix?region=eu-west-1&endpoint={endpoint}&path_style=true&unsigned=true"
                )
                objects = handler.objects  # type: ignore[attr-defined]
                yield Adapter(store, lambda d: objects.update({next(p for p in objects if d in p): b"damaged"}))
                assert all(path.startswith("/bucket/prefix/sha256/") for path in objects)
                server.shutdown()


async def test_what_was_stored_is_read_back_under_its_hash(adapter: Adapter) -> None:
    assert await adapter.store.put(DATA) == media_id(DATA)
    assert await adapter.store.exists(media_id(DATA))
    assert await adapter.store.get(media_id(DATA)) == DATA


async def test_storing_the_same_bytes_again_changes_nothing(adapter: Adapter) -> None:
    first = await adapter.store.put(DATA)
    assert await adapter.store.put(DATA) == first
    assert await adapter.store.get(first) == DATA


async def test_empty_and_large_objects_are_objects_too(adapter: Adapter) -> None:
    for data in (b"", bytes(range(256)) * 40_000):
        assert await adapter.store.get(await adapter.store.put(data)) == data


async def test_an_object_that_is_not_there_is_missing_media(adapter: Adapter) -> None:
    assert not await adapter.store.exists(ABSENT)
    with pytest.raises(MissingMedia, match=ABSENT):
        await adapter.store.get(ABSENT)


async def test_a_deleted_object_is_gone_and_deleting_it_again_is_no_error(adapter: Adapter) -> None:
    digest = await adapter.store.put(DATA)
    await adapter.store.delete(digest)
    await adapter.store.delete(digest)
    assert not await adapter.store.exists(digest)
    with pytest.raises(MissingMedia):
        await adapter.store.get(digest)


async def test_damaged_bytes_are_refused_and_storing_them_again_repairs_them(adapter: Adapter) -> None:
    digest = await adapter.store.put(DATA)
    adapter.damage(digest)
    with pytest.raises(IntegrityError, match=digest):
        await adapter.store.get(digest)
    await adapter.store.put(DATA)
    assert await adapter.store.get(digest) == DATA


@pytest.mark.parametrize("name", NOT_IDS, ids=range(len(NOT_IDS)))
async def test_a_name_that_is_not_a_hash_never_reaches_the_store(adapter: Adapter, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await adapter.store.get(name)
    assert not isinstance(caught.value, MissingMedia)  # it was refused, not looked for
    with pytest.raises(InvalidInput):
        await adapter.store.exists(name)
    with pytest.raises(InvalidInput):
        await adapter.store.delete(name)
