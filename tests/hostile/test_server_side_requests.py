"""Goal G22. The platform takes no addresses and has nothing that fetches: every place for a reference says no.

An audit hook sees every connection and every name that this process looks up; listeners on IPv4 and IPv6 see what any
other process, the confined decoder's above all, tries.
"""

import contextlib
import io
import json
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.errors import InvalidInput
from tests.hostile.urls import uris
from tests.unit.serving.gateway.conftest import upload_event

_watching: list[list[str]] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        for seen in _watching:
            seen.append(f"{event} {arguments[-4:]}")


sys.addaudithook(_watch)  # there is no way to take a hook off again; it does nothing unless asked


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """Give the list of connections and look-ups of this process while the block runs."""
    seen: list[str] = []
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.remove(seen)


class Trap:
    """Listens on every loopback address at one port, and counts who comes."""

    def __init__(self) -> None:
        self.caught = 0
        self._sockets = [socket.create_server(("127.0.0.1", 0))]
        self.port = self._sockets[0].getsockname()[1]
        with contextlib.suppress(OSError):
            self._sockets.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))
        for one in self._sockets:
            threading.Thread(target=self._accept, args=(one,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.caught += 1
                connection.close()

    def close(self) -> None:
        for one in self._sockets:
            one.close()


@pytest.fixture
def trap() -> Iterator[Trap]:
    trap = Trap()
    yield trap
    trap.close()


def picture_that_names(uri: str) -> bytes:
    """Return a PNG with the address in each of its texts."""
    texts = PngInfo()
    for name in ("XML:com.adobe.xmp", "Source", "URL"):
        texts.add_text(name, f'<x xlink:href="{uri}" rdf:resource="{uri}"/>')
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=texts)
    return buffer.getvalue()


def test_the_trap_and_the_watch_work(trap):
    with watched() as seen:
        socket.create_connection(("127.0.0.1", trap.port)).close()
    assert len(seen) >= 1


async def test_g22_no_reference_is_ever_followed(world, trap):
    addresses = uris(trap.port)
    assert len(addresses) == len(set(addresses)) == 60
    client, refused = world.client, 0

    async def refuses(method: str, path: str, **request: Any) -> None:
        nonlocal refused
        answer = await client.request(method, path, **request)
        assert answer.status_code in (400, 404, 405, 415), (path, request, answer.status_code)
        assert answer.headers["content-type"] == "application/problem+json"
        refused += 1

    with watched() as seen:
        for number, uri in enumerate(addresses):
            quoted = uri.encode().hex() if "%" in uri else uri
            await refuses("POST", "/v1/search/images", json={"media_id": uri})
            await refuses("POST", "/v1/search/images", json={"item_id": uri})  # an id like any other: of nothing
            await refuses("POST", "/v1/search/images", json={"url": uri})
            await refuses("POST", "/v1/search/images", json={"item_id": "x", "filters": {"image_url": uri}})
            await refuses("POST", "/v1/search/images", data={"file": uri}, files={"other": b"x"})
            await refuses("POST", "/v1/media", files={"file": ("x.png", uri.encode())})
            await refuses("POST", "/v1/media", files={"file": ("x.svg", f'<svg><image href="{uri}"/></svg>'.encode())})
            await refuses("POST", "/v1/media", files={"file": ("x.m3u8", f"#EXTM3U\n{uri}\n".encode())})
            await refuses("POST", "/v1/media", json={"url": uri})
            await refuses("GET", f"/v1/media/{quoted}")
            await refuses("POST", "/v1/events/uploads", json=upload_event(f"i{number}", uri))
            with contextlib.suppress(InvalidInput):
                await world.deps.objects.get(uri)
                pytest.fail("the object store knows an address")
            # As text it is text: kept, shown escaped, never followed.
            data = picture_that_names(uri)
            stored = await client.post("/v1/media", files={"file": (uri, data, uri.encode().hex())})
            assert stored.status_code == 201
            event = upload_event(f"item-{number}", stored.json()["media_id"], title=uri[:300], description=uri)
            assert (await client.post("/v1/events/uploads", content=json.dumps(event))).status_code == 202
    print(f"G22: {len(addresses)} addresses, {refused} references refused, "
          f"{len(seen)} connections or look-ups by the service, {trap.caught} in the trap")  # fmt: skip
    assert seen == []
    assert trap.caught == 0
