"""The system as the compose file runs it: separate processes with homes of their own, over Kafka, Redis, PostgreSQL
and S3. Only the containers are missing, S3 is a stand-in, and Kafka is one node instead of three.
"""

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from core.access.credentials import credentials
from core.access.roles import Role
from core.clock import SystemClock
from core.errors import ConfigurationError
from core.settings import AuthSettings, Settings, load_settings
from infra.demo.platform import Platform, event, wait_until
from infra.redis_server import find_redis, running_redis
from monitoring.canary import canary_image
from tests.integration.compose_system import (
    RIVERLIGHT,
    Places,
    Process,
    make_keys,
    make_secrets,
    restrict,
    s3_stand_in,
    settings_of,
)
from tests.postgres import postgres_server, postgres_url  # noqa: F401

pytestmark = [pytest.mark.integration, pytest.mark.serve, pytest.mark.kafka, pytest.mark.timeout(600)]

WITHIN_S = 60.0


@dataclass(frozen=True)
class Apart:
    """The running processes, and what they keep where."""

    places: Places
    processes: dict[str, Process]
    objects: dict[str, bytes]
    homes: Path


@pytest.fixture(scope="module")
def apart(
    kafka_bootstrap: str,
    postgres_server: Callable[[], str],  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Apart]:
    folder = tmp_path_factory.mktemp("apart")
    secrets = make_secrets(folder)
    try:
        program = find_redis(load_settings().home)
    except ConfigurationError as error:
        pytest.skip(str(error))
    processes: dict[str, Process] = {}
    with running_redis(program, folder / "redis") as server, s3_stand_in() as (minio, objects):
        try:
            restrict(server, (secrets / "redis_users").read_text(encoding="utf-8"))
            places = Places(kafka_bootstrap, postgres_server(), server.url, minio, keys=folder / "volumes")
            _apply_topics(settings_of("topics", places, secrets, folder / "topics"))
            make_keys(places, settings_of("keys", places, secrets, folder / "keys-home"))
            # serve alone first: Ray gives up when it has to start among others on few processors
            for services in (("serve",), ("worker-content", "worker-behaviour", "canary")):
                for service in services:
                    settings = settings_of(service, places, secrets, folder / service)
                    processes[service] = Process(service, settings, folder / f"{service}.log", places.api)
                for service in services:
                    processes[service].wait_until_ready()
            yield Apart(places, processes, objects, folder)
        finally:
            for process in processes.values():
                if process.popen.poll() is None:
                    process.stop()


def _apply_topics(settings: dict[str, str]) -> None:
    # One node cannot keep three replicas, and production asks for them.
    settings |= {"RIVERLIGHT_BROKER__REPLICATION_FACTOR": "1", "RIVERLIGHT_PROFILE": "local"}
    environment = {**os.environ, **settings}
    done = subprocess.run([*RIVERLIGHT, "topics", "apply"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


async def test_an_upload_is_found_and_a_click_counted_when_every_process_has_a_home_of_its_own(apart: Apart) -> None:
    settings = Settings(auth=AuthSettings(mode="tokens", keys=apart.places.keys / "keys"))
    tokens = credentials(settings, SystemClock(), subject="tester", roles=(Role.producer, Role.reader))
    platform = Platform(f"http://{apart.places.api}", credentials=tokens)
    try:
        item = f"apart-{time.time_ns()}"
        media = await platform.upload_media("picture.png", canary_image(1))
        details = {"item_id": item, "owner_id": "tester", "kind": "image", "media_id": media, "title": "shapes"}
        await platform.send("uploads", [event("upload.created", item, details)])

        async def found() -> bool:
            return item in (await platform.search(media_id=media, k=5, min_score=-1, include_query=True)).items

        await wait_until(found, what="the upload searchable", timeout_s=WITHIN_S)
        seen = {"user_id": "u1", "item_id": item, "surface": "visual_search", "position": 0}
        clicks = [event("interaction.impression", "u1", seen), event("interaction.click", "u1", seen)]
        await platform.send("interactions", clicks)

        async def counted() -> bool:
            return (await platform.get(f"/v1/features/items/{item}"))["values"]["clicks_day"] == 1

        await wait_until(counted, what="the click counted", timeout_s=WITHIN_S)
        await platform.send("uploads", [event("upload.deleted", item, {"item_id": item})])

        async def gone() -> bool:
            return not await found()

        await wait_until(gone, what="the upload gone", timeout_s=WITHIN_S)
    finally:
        await platform.close()
    assert sorted(file.name for file in (apart.places.keys / "public-keys").iterdir()) == ["jwks.json"]
    assert any(path.startswith("/riverlight/media/sha256/") and media in path for path in apart.objects)
    assert await asyncio.to_thread(_state, apart.places.postgres, item) == "deleted"
    assert not list(apart.homes.glob("*/catalogue.db")), "the catalogue is PostgreSQL's"
    assert not list(apart.homes.glob("*/features/online.db")), "the online store is Redis"


def _state(url: str, item: str) -> str:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return str(connection.execute(text("SELECT state FROM items WHERE item_id = :id"), {"id": item}).scalar())
    finally:
        engine.dispose()


def test_every_process_stops_cleanly_when_it_is_asked_to(apart: Apart) -> None:
    codes = {name: apart.processes[name].stop() for name in ("canary", "worker-behaviour", "worker-content", "serve")}
    assert codes == dict.fromkeys(codes, 0)
