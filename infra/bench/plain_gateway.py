"""The gateway's application on plain uvicorn, without Ray: the baseline of `search_http`.

`python -m infra.bench.plain_gateway MODEL_VERSION DIM`, with the settings in the environment. It answers searches by
known media; nothing behind it encodes images.
"""

import asyncio
import gc
import sys

import uvicorn

from core.settings import load_settings
from models.embedding_service import HttpEmbeddingService
from monitoring.logs import configure_logs
from serving.gateway.api import create_api
from serving.gateway.dependencies import open_gateway


def main() -> None:
    model_version, dim = sys.argv[1], int(sys.argv[2])
    settings = load_settings()
    configure_logs("plain-gateway", settings.monitoring.log_level)
    embedding = HttpEmbeddingService(f"http://{settings.http.host}:{settings.http.port}")
    deps = open_gateway(settings, embedding, dim=dim, model_version=model_version)
    gc.collect()
    gc.freeze()  # as the replica does
    try:
        uvicorn.run(
            create_api(deps), host=settings.http.host, port=settings.http.port, access_log=False, lifespan="off"
        )
    finally:
        asyncio.run(deps.close())


if __name__ == "__main__":
    main()
