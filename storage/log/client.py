"""What every connection to the broker shares: its settings, and errors that are reported without flooding the log."""

import logging
import threading
import time
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException

from core.errors import ConfigurationError, RiverlightError, TooLarge, Unavailable

_REFUSED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,
}
_REPORT_EVERY_S = 30.0


class ErrorLog:
    """Logs the client's errors at most once in 30 s per kind, with the number left out.

    librdkafka reports a broker that is down some twenty times a second; one line says the same.
    """

    def __init__(self, client_id: str) -> None:
        self._log = structlog.get_logger("storage.log").bind(client_id=client_id)
        self._last: dict[str, float] = {}
        self._left_out: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, error: KafkaError) -> None:
        self.report(error.name(), error.str())

    def report(self, kind: str, message: str) -> None:
        """Log `message`, unless one of the same kind was logged a moment ago."""
        now = time.monotonic()
        with self._lock:
            if now - self._last.get(kind, -_REPORT_EVERY_S) < _REPORT_EVERY_S:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return
            self._last[kind] = now
            left_out = self._left_out.pop(kind, 0)
        self._log.warning("broker client error", kind=kind, error=message, repeats_left_out=left_out)


class _ToErrorLog(logging.Handler):
    """Hands librdkafka's own log lines to an ErrorLog."""

    def __init__(self, errors: ErrorLog) -> None:
        super().__init__(logging.WARNING)
        self._errors = errors

    def emit(self, record: logging.LogRecord) -> None:
        # The first word is librdkafka's facility ("FAIL", "CONFWARN", ...): few, so they make good kinds.
        message = record.getMessage()
        self._errors.report("log:" + message.split(" ", 1)[0], message)


def client_config(bootstrap: str, client_id: str, errors: ErrorLog) -> dict[str, Any]:
    """Return the librdkafka settings of any client of ours."""
    logger = logging.Logger("librdkafka", logging.WARNING)  # its own, not a global: one client, one handler
    logger.addHandler(_ToErrorLog(errors))
    return {
        "bootstrap.servers": bootstrap,
        "client.id": client_id,
        "error_cb": errors,
        "logger": logger,
        "log_level": 4,
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 10_000,
        "socket.keepalive.enable": True,
        "allow.auto.create.topics": False,
    }


def as_error(error: KafkaError, doing: str) -> RiverlightError:
    """Return our error for the broker's answer while `doing` something."""
    message = f"{doing}: {error.str()} ({error.name()})"
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return TooLarge(message)
    if error.code() in _REFUSED:
        return ConfigurationError(message)
    return Unavailable(message)


def from_exception(exception: KafkaException, doing: str) -> RiverlightError:
    """Return our error for an exception of the client."""
    cause = exception.args[0] if exception.args else None
    if isinstance(cause, KafkaError):
        return as_error(cause, doing)
    return Unavailable(f"{doing}: {exception}")
