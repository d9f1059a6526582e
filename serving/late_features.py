"""The feature reader, opened behind the start: importing Feast takes seconds that no first answer should wait for."""

import threading
import time
from collections.abc import Callable, Sequence

import structlog

from core.errors import Unavailable
from features.reader import FeatureReader, FeatureRow

PATIENCE_S = 60.0

_log = structlog.get_logger(__name__)


class LateFeatures:
    """Reads features once `open_reader` has returned, and says Unavailable before."""

    def __init__(self, open_reader: Callable[[], FeatureReader], *, after: Callable[[], bool]) -> None:
        """Opening begins when `after` says so, at the latest after `PATIENCE_S`: what answers searches starts first."""
        self._open_reader = open_reader
        self._after = after
        self._closing = threading.Event()
        self._reader: FeatureReader | None = None
        self._problem = "features are being opened; try again in a few seconds"
        self._thread = threading.Thread(target=self._open, name="feature-opener", daemon=True)
        self._thread.start()

    def item_features(self, item_ids: Sequence[str]) -> list[FeatureRow]:
        """As `FeatureReader.item_features`."""
        return self._opened().item_features(item_ids)

    def user_features(self, user_ids: Sequence[str]) -> list[FeatureRow]:
        """As `FeatureReader.user_features`."""
        return self._opened().user_features(user_ids)

    def wait(self, timeout_s: float) -> None:
        """Wait until opening has succeeded or failed, at most `timeout_s`."""
        self._thread.join(timeout_s)

    def close(self) -> None:
        """Close the reader, if it was opened."""
        self._closing.set()
        self._thread.join(timeout=60)
        if self._reader is not None:
            self._reader.close()

    def _opened(self) -> FeatureReader:
        if self._reader is None:
            raise Unavailable(self._problem, retry_after_s=5)
        return self._reader

    def _open(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self._after() and time.monotonic() < deadline:
            if self._closing.wait(0.25):
                return
        try:
            self._reader = self._open_reader()
        except Exception as error:  # search goes on without features; asking for them says what is wrong
            self._problem = f"features cannot be read: {error}"
            _log.exception("features_not_opened")
