"""One upload and one search, traced through every part into an OTLP receiver: the spans arrive and hang together."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.requests import Request

from core.settings import Settings, TracingSettings
from models.embedding_service import ENCODER_PREFIX, HttpEmbeddingService
from monitoring.tracing import Tracer, open_tracer
from serving.encoder import EncoderParts, ImageEncoderService
from storage.objects import open_object_store
from tests.fakes.encoder import FakeImageEncoder
from tests.live_gateway import LiveGateway, live_gateway, until
from tests.unit.models.media.pictures import encoded, quadrants

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Received:
    """A span as it arrived."""

    process: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, object]


@dataclass
class Receiver:
    """Takes OTLP over HTTP, as a collector does."""

    url: str = ""
    spans: list[Received] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {one.key: one.value.string_value for one in of_process.resource.attributes}
            for of_scope in of_process.scope_spans:
                for span in of_scope.spans:
                    self.spans.append(
                        Received(
                            names["service.name"].removeprefix("riverlight-"),
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes},
                        )
                    )

    def tree(self, trace_id: str) -> set[tuple[str, str]]:
        """Return who is under whom in a trace, as (parent, child), each `process: span`; the root is under nothing."""
        spans = {span.span_id: span for span in self.spans if span.trace_id == trace_id}
        names = {span_id: f"{span.process}: {span.name}" for span_id, span in spans.items()}
        return {(names.get(span.parent_id, span.parent_id), names[span_id]) for span_id, span in spans.items()}


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Not in a test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def image_encoder(settings: Settings) -> Iterator[str]:
    """Run the image encoder's service, with a model that knows colours, under uvicorn."""
    parts = EncoderParts(FakeImageEncoder(), open_object_store(settings.objects_url))
    service = ImageEncoderService(settings, lambda _: parts)

    async def app(scope, receive, send) -> None:
        await (await service(Request(scope, receive)))(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started, "the encoder started")
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}{ENCODER_PREFIX}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        service.close()


def test_an_upload_and_a_search_are_one_tree_of_spans_each_over_all_processes(tmp_path: Path):
    with receiver() as received:
        settings = Settings(home=tmp_path, tracing=TracingSettings(exporter="otlp", endpoint=received.url))
        tracers: dict[str, Tracer] = {
            name: open_tracer(settings.tracing, name, tmp_path) for name in ("gateway", "worker-content")
        }
        with image_encoder(settings) as url:
            # The current span is OpenTelemetry's, whichever tracer began it.
            embedding = HttpEmbeddingService(url, credentials=lambda: dict(tracers["gateway"].headers()))
            with live_gateway(tmp_path, embedding=embedding, tracer_of=tracers.__getitem__) as gateway:
                upload_trace = _upload(gateway, "private flat of anna")
                answer = gateway.http.post("/v1/search/images", files={"file": encoded(quadrants())})
                assert [one["item_id"] for one in answer.json()["results"]] == ["item-1"]
        for tracer in tracers.values():
            tracer.close()

    assert received.tree(upload_trace) == {
        ("", "gateway: POST /v1/events/{stream}"),
        ("gateway: POST /v1/events/{stream}", "gateway: collect"),
        ("gateway: POST /v1/events/{stream}", "worker-content: index-upload process"),
        ("worker-content: index-upload process", "image-encoder: encode"),
        ("image-encoder: encode", "image-encoder: fetch"),
        ("image-encoder: encode", "image-encoder: decode"),
        ("image-encoder: encode", "image-encoder: forward"),
        ("worker-content: index-upload process", "gateway: index apply"),
    }
    search_trace = answer.headers["x-trace-id"]
    assert search_trace == answer.json()["trace_id"] != upload_trace
    assert received.tree(search_trace) == {
        ("", "gateway: POST /v1/search/images"),
        ("gateway: POST /v1/search/images", "gateway: embed"),
        ("gateway: embed", "image-encoder: encode"),
        ("image-encoder: encode", "image-encoder: decode"),
        ("image-encoder: encode", "image-encoder: forward"),
        ("gateway: POST /v1/search/images", "gateway: search"),
        ("gateway: POST /v1/search/images", "gateway: rerank"),
    }
    [root] = [span for span in received.spans if span.trace_id == search_trace and not span.parent_id]
    assert root.attributes["http.response.status_code"] == 200
    assert root.attributes["riverlight.trace_id"] == search_trace
    for word in (b"anna", b"item-1", b"owner"):
        assert not any(word in body for body in received.bodies), word


def _upload(gateway: LiveGateway, title: str) -> str:
    """Upload an item, wait until it is in the index, and return the trace of its event."""
    media_id = gateway.http.post("/v1/media", files={"file": encoded(quadrants())}).json()["media_id"]
    seen: list[str] = []
    gateway.http.event_hooks["response"] = [lambda response: seen.append(response.headers["x-trace-id"])]
    gateway.send("created", "item-1", owner_id="owner", kind="image", media_id=media_id, title=title)
    gateway.http.event_hooks["response"] = []
    until(lambda: gateway.deps.index.current.get("item-1") is not None, "item-1 in the index")
    return seen[0]
