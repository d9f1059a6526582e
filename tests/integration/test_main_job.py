"""The main job on the whole system, as its users run it: `riverlight up`, then HTTP and Kafka from outside."""

import asyncio
import contextlib
import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from socket import SOCK_DGRAM
from typing import Any

import httpx
import psutil
import pytest

from core import topics
from core.ids import media_id as content_id
from core.ports import OutgoingRecord
from core.settings import Settings
from infra.broker import embedded, kafka
from infra.demo.platform import Platform, event, wait_until
from monitoring.canary import canary_image
from storage.log.producer import KafkaPublisher
from tests.integration.brokers import kafka_libs

pytestmark = [pytest.mark.integration, pytest.mark.serve, pytest.mark.timeout(600)]

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class System:
    """A running system and how to talk to it."""

    environment: dict[str, str]
    urls: dict[str, str]

    def command(self, *arguments: str, expect: int | None = 0) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", "from infra.cli.main import main; main()", *arguments, "--output", "json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert expect is None or done.returncode == expect, done.stderr[-2000:]
        return json.loads(done.stdout) if done.stdout.strip() else {}


@pytest.fixture(scope="module", params=["kafka", "embedded"])
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    missing = kafka.what_is_missing(kafka_libs()) if request.param == "kafka" else embedded.what_is_missing()
    if missing:
        pytest.skip(f"the {request.param} broker cannot run here; missing: {'; '.join(missing)}")
    home = tmp_path_factory.mktemp(f"home-{request.param}")
    if request.param == "kafka":  # the jars are fetched once for all homes
        kafka_libs().mkdir(parents=True, exist_ok=True)
        (home / "kafka").mkdir()
        (home / "kafka" / "libs").symlink_to(kafka_libs())
    environment = {
        **os.environ,
        "RIVERLIGHT_HOME": str(home),
        "RIVERLIGHT_BROKER__PORT": "0",
        "RIVERLIGHT_HTTP__PORT": "0",
        "RIVERLIGHT_MONITORING__WORKER_METRICS_PORT": "0",
        "RIVERLIGHT_MONITORING__PROMETHEUS_PORT": "0",
        "RIVERLIGHT_MONITORING__CANARY_INTERVAL_S": "1",
    }
    unstarted = System(environment, {})
    try:
        status = unstarted.command("up", "--detach", "--broker", request.param)
        assert status["broker"]["kind"] == request.param
        yield System(environment, status["urls"])
    finally:
        unstarted.command("down", expect=None)


async def upload(platform: Platform, seed: int, **data: Any) -> tuple[str, str]:
    """Upload a picture of shapes as a new item; return item id and media id."""
    media = await platform.upload_media("picture.png", canary_image(seed))
    item = f"item-{seed}-{time.time_ns()}"
    details = {
        "item_id": item,
        "owner_id": "tester",
        "kind": "image",
        "media_id": media,
        "title": f"shapes {seed}",
        **data,
    }
    await platform.send("uploads", [event("upload.created", item, details)])
    return item, media


async def found(platform: Platform, item: str, media: str) -> bool:
    answer = await platform.search(media_id=media, k=5, min_score=-1, include_query=True)
    return item in answer.items


@pytest.fixture
async def platform(system: System):
    client = Platform(system.urls["http"])
    yield client
    await client.close()


async def until_found(platform: Platform, item: str, media: str) -> float:
    return await wait_until(lambda: found(platform, item, media), what=f"{item} searchable", timeout_s=TIMEOUT_S)


async def until_gone(platform: Platform, item: str, media: str) -> float:
    async def gone() -> bool:
        return not await found(platform, item, media)

    return await wait_until(gone, what=f"{item} gone", timeout_s=TIMEOUT_S)


def test_status_names_every_process_with_its_state_and_pid(system: System) -> None:
    status = system.command("status")
    processes = {process["name"]: process for process in status["processes"]}
    assert {"broker", "serve", "worker-content", "worker-behaviour", "canary"} <= set(processes)
    for name, process in processes.items():
        assert process["state"] == "ready", (name, process)
        os.kill(process["pid"], 0)
    assert {"http", "console", "metrics", "broker"} <= set(status["urls"])


async def test_an_upload_becomes_searchable_and_hiding_and_deleting_take_it_out(platform: Platform) -> None:
    item, media = await upload(platform, 1)
    await until_found(platform, item, media)
    await platform.send("uploads", [event("upload.hidden", item, {"item_id": item})])
    await until_gone(platform, item, media)
    await platform.send("uploads", [event("upload.hidden", item, {"item_id": item, "hidden": False}, "again")])
    await until_found(platform, item, media)
    await platform.send("uploads", [event("upload.deleted", item, {"item_id": item})])
    await until_gone(platform, item, media)


async def test_an_image_in_the_request_finds_what_looks_like_it_and_the_answer_is_explained(platform: Platform) -> None:
    (item, media), (other, other_media) = await upload(platform, 2), await upload(platform, 3)
    await until_found(platform, item, media)
    await until_found(platform, other, other_media)
    answer = await platform.search(image=canary_image(2), k=5, min_score=0.9)
    assert answer.items[0] == item
    assert answer.scores[0] > 0.99
    trace = await platform.get(f"/v1/traces/{answer.trace_id}")
    assert trace["trace_id"] == answer.trace_id
    why_not = await platform.get(f"/v1/traces/{answer.trace_id}?item_id=nowhere")
    assert "unknown" in json.dumps(why_not)


async def test_nothing_is_an_answer(platform: Platform) -> None:
    item, media = await upload(platform, 4)
    await until_found(platform, item, media)
    answer = await platform.search(image=canary_image(5), k=5, min_score=0.999)
    assert answer.items == []


async def test_clicks_come_back_as_features_each_counted_once(platform: Platform) -> None:
    item = f"clicked-{time.time_ns()}"
    shown = {"user_id": "u1", "item_id": item, "surface": "visual_search", "position": 0}
    events = [event("interaction.impression", "u1", shown, str(number)) for number in range(20)]
    events += [event("interaction.click", "u1", shown, str(number)) for number in range(5)]
    await platform.send("interactions", events)
    await platform.send("interactions", events)  # a producer that retries

    async def counted() -> bool:
        row = (await platform.get(f"/v1/features/items/{item}"))["values"]
        return row["clicks_day"] == 5

    await wait_until(counted, what="clicks counted", timeout_s=TIMEOUT_S)
    row = (await platform.get(f"/v1/features/items/{item}"))["values"]
    assert (row["impressions_day"], row["clicks_day"]) == (20, 5)


async def test_broken_records_become_dead_letters_with_their_bytes_and_good_neighbours_live(
    system: System, platform: Platform
) -> None:
    before = {letter["event_id"] for letter in system.command("dlq", "list")["letters"]}
    media = await platform.upload_media("neighbour.png", canary_image(6))
    item = f"neighbour-{time.time_ns()}"
    good = event("upload.created", item, {"item_id": item, "owner_id": "t", "kind": "image", "media_id": media})
    lost = event(
        "upload.created",
        "lost",
        {"item_id": "lost", "owner_id": "t", "kind": "image", "media_id": content_id(item.encode())},
    )
    frame = b"[" + json.dumps(good).encode() + b', {"broken": true}]'
    publisher = KafkaPublisher(system.urls["broker"], Settings().producer, client_id="test")
    try:
        records = [(item, b"\xff not json"), (item, frame), ("lost", json.dumps(lost).encode())]
        await publisher.publish([OutgoingRecord(topics.UPLOADS.name, key, value) for key, value in records])
    finally:
        await asyncio.to_thread(publisher.close)
    await until_found(platform, item, media)

    async def all_there() -> bool:
        letters = (await asyncio.to_thread(system.command, "dlq", "list"))["letters"]
        return len([letter for letter in letters if letter["event_id"] not in before]) == 3

    await wait_until(all_there, what="three dead letters", timeout_s=TIMEOUT_S, every_s=0.5)
    letters = [one for one in system.command("dlq", "list")["letters"] if one["event_id"] not in before]
    assert sorted(letter["code"] for letter in letters) == ["invalid-event", "invalid-event", "missing-media"]


async def test_a_worker_killed_in_the_middle_loses_nothing(system: System, platform: Platform) -> None:
    uploads = [await upload(platform, 100 + number) for number in range(5)]
    worker = next(p for p in system.command("status")["processes"] if p["name"] == "worker-content")
    os.kill(worker["pid"], signal.SIGKILL)
    uploads += [await upload(platform, 200 + number) for number in range(5)]
    for item, media in uploads:
        await until_found(platform, item, media)
    again = next(p for p in system.command("status")["processes"] if p["name"] == "worker-content")
    assert again["pid"] != worker["pid"]
    assert again["restarts"] >= 1


async def test_the_live_index_equals_one_built_from_the_log_also_after_a_rebuild(
    system: System, platform: Platform
) -> None:
    item, media = await upload(platform, 300)
    await until_found(platform, item, media)
    first = await asyncio.to_thread(system.command, "index", "verify")
    assert first["equal"] is True
    assert first["items"] > 0
    rebuilt = await asyncio.to_thread(system.command, "index", "rebuild")
    assert rebuilt["failed"] == {}
    assert await found(platform, item, media)
    assert (await asyncio.to_thread(system.command, "index", "verify"))["equal"] is True


def test_the_canary_and_the_metrics_watch_the_promises(system: System) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    canary = next(p for p in system.command("status")["processes"] if p["name"] == "canary")
    assert canary["state"] == "ready"
    while time.monotonic() < deadline:
        text = httpx.get(system.urls["metrics"]).text
        if 'riverlight_freshness_seconds_count{effect="searchable",system="visual_search"}' in text:
            break
        time.sleep(0.2)
    assert 'riverlight_freshness_seconds_count{effect="gone",system="visual_search"}' in text
    assert "riverlight_index_items" in text


def test_no_process_of_the_system_listens_beyond_this_machine(system: System) -> None:
    supervisor = psutil.Process(system.command("status")["supervisor"]["pid"])
    elsewhere, here = {}, 0
    for process in supervisor.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it has ended; the decoder's child
            for socket in process.net_connections("inet"):
                if socket.status == psutil.CONN_LISTEN or (socket.type == SOCK_DGRAM and not socket.raddr):
                    if ipaddress.ip_address(socket.laddr.ip.removeprefix("::ffff:")).is_loopback:
                        here += 1
                    else:
                        elsewhere[socket.laddr] = " ".join(process.cmdline())[:80]
    assert elsewhere == {}
    assert here > 20  # Ray alone has a dozen


def test_ray_lets_nobody_in_without_the_token_of_this_start(system: System) -> None:
    supervisor = psutil.Process(system.command("status")["supervisor"]["pid"])
    [control] = [one for one in supervisor.children(recursive=True) if one.name() == "gcs_server"]
    port = next(s.laddr.port for s in control.net_connections("tcp") if s.status == psutil.CONN_LISTEN)
    ask = f"from ray._raylet import GcsClient as C; print(C(address='127.0.0.1:{port}').internal_kv_keys(b'', None))"
    token = Path(system.environment["RIVERLIGHT_HOME"]) / "run" / "ray-token"
    assert token.stat().st_mode & 0o077 == 0
    with_token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    for environment, welcome in (({"RAY_AUTH_MODE": "disabled"}, False), (with_token, True)):
        asked = subprocess.run(
            [sys.executable, "-c", ask],
            env={**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **environment},
            capture_output=True,
            timeout=60,
        )
        assert (asked.returncode == 0) is welcome, asked.stderr[-500:]


def test_down_leaves_no_process_behind(system: System) -> None:
    pids = [process["pid"] for process in system.command("status")["processes"]]
    system.command("down")
    assert system.command("status", expect=3)["running"] is False
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_durable_system_comes_back_with_everything(system: System) -> None:
    if "embedded" in system.environment["RIVERLIGHT_HOME"]:
        pytest.skip("the embedded broker forgets everything when it stops, and says so")
    system.command("up", "--detach")
    assert system.command("index", "verify")["items"] > 0
