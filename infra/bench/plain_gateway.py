"""The gateway's application on plain uvicorn, without Ray: in a process of its own, for benchmarks.

`python -m infra.bench.plain_gateway MODEL_VERSION DIM`, with the settings in the environment. It answers searches by
known media; nothing behind it encodes images.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import uvicorn

from core.settings import Settings, load_settings
from infra.runtime import settings_environment
from models.embedding_service import HttpEmbeddingService
from monitoring.logs import configure_logs
from serving.garbage import spare_what_lives
from serving.gateway.api import create_api
from serving.gateway.dependencies import open_gateway


@contextmanager
def running_gateway(
    settings: Settings, model_version: str, dim: int, folder: Path
) -> Iterator[tuple[str, psutil.Process]]:
    """Run it until the block ends; give its URL, at which nothing answers yet, and its process. It logs in `folder`."""
    command = [sys.executable, "-m", "infra.bench.plain_gateway", model_version, str(dim)]
    environment = {**settings_environment(settings), "OMP_NUM_THREADS": "1"}
    with (folder / "plain-gateway.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{settings.http.port}", psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(30)


def main() -> None:
    model_version, dim = sys.argv[1], int(sys.argv[2])
    settings = load_settings()
    configure_logs("plain-gateway", settings.monitoring.log_level)
    embedding = HttpEmbeddingService(f"http://{settings.http.host}:{settings.http.port}")
    deps = open_gateway(settings, embedding, dim=dim, model_version=model_version)
    spare_what_lives()  # as the replica does
    try:
        uvicorn.run(
            create_api(deps), host=settings.http.host, port=settings.http.port, access_log=False, lifespan="off"
        )
    finally:
        asyncio.run(deps.close())


if __name__ == "__main__":
    main()
