"""What hostile input is sent to."""

from collections.abc import Iterator

import pytest

from core.settings import HttpSettings
from tests.live_gateway import LiveGateway, live_gateway
from tests.unit.serving.gateway.conftest import make_world, world

__all__ = ["make_world", "world"]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """The gateway behind a real port, with a deadline short enough to wait for."""
    http = HttpSettings(request_timeout_s=4, max_upload_bytes=4 * 1024 * 1024)
    with live_gateway(tmp_path_factory.mktemp("gateway"), http=http) as running:
        yield running
