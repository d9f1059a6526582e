"""Public keys from a JWKS file (RFC 7517), or from every `*.json` of a folder, read again when they change."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import jwt
import structlog

from core.errors import ConfigurationError

_log = structlog.get_logger(__name__)

#: The algorithms that are accepted, each with the kind of key that it needs. Nothing symmetric, and not `none`.
ALGORITHMS = {"EdDSA": "OKP", "RS256": "RSA"}
MIN_RSA_BITS = 2048
_LOOK_EVERY_S = 1.0
_MAX_BYTES = 1024 * 1024


class KeySet:
    """The public keys of one issuer by id. Safe to use from several threads."""

    def __init__(self, path: Path, monotonic: Callable[[], float]) -> None:
        """Read the keys now.

        Raises:
            ConfigurationError: there is no such file, or it holds no usable key.
        """
        self._path = path
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._seen = self._fingerprint()
        self._keys = read_keys(path)
        self._looked_at = monotonic()

    def get(self, kid: str) -> jwt.PyJWK | None:
        """Return a key, or None when nobody has published it."""
        self._look()
        return self._keys.get(kid)

    def _look(self) -> None:
        if self._monotonic() - self._looked_at < _LOOK_EVERY_S or not self._lock.acquire(blocking=False):
            return
        try:
            self._looked_at = self._monotonic()
            seen = self._fingerprint()
            if seen != self._seen:
                self._keys = read_keys(self._path)
                self._seen = seen
                _log.info("keys_read_again", path=str(self._path), keys=sorted(self._keys))
        except ConfigurationError as error:  # half-written, or gone: what was known before goes on to be true
            _log.warning("keys_not_read", path=str(self._path), error=str(error))
        finally:
            self._lock.release()

    def _fingerprint(self) -> tuple[tuple[str, int, int, int], ...]:
        try:
            stats = [(file.name, file.stat()) for file in _files(self._path)]
        except OSError:
            return ()
        return tuple((name, stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


def read_keys(path: Path) -> dict[str, jwt.PyJWK]:
    """Read every usable key; keys for other uses or algorithms are passed over.

    Raises:
        ConfigurationError: a file cannot be read or is no JWKS, a key id is there twice, or no key is usable.
    """
    keys: dict[str, jwt.PyJWK] = {}
    files = _files(path)
    for file in files:
        try:
            if file.stat().st_size > _MAX_BYTES:
                raise ConfigurationError(f"{file} is too large for a JWKS document")
            found = json.loads(file.read_bytes())["keys"]
            usable = [key for key in found if _usable(key)]
            parsed = {str(key["kid"]): jwt.PyJWK(key, algorithm=_algorithm(key)) for key in usable}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
            raise ConfigurationError(f"{file} is not a JWKS document that can be read: {error}") from error
        if len(parsed) < len(usable) or parsed.keys() & keys.keys():
            raise ConfigurationError(f"{file}: a key id is there twice")
        keys.update(parsed)
    weak = [kid for kid, key in keys.items() if key.key_type == "RSA" and key.key.key_size < MIN_RSA_BITS]
    if weak:
        raise ConfigurationError(f"{path}: RSA keys need {MIN_RSA_BITS} bits; fewer have {', '.join(weak)}")
    if not keys:
        raise ConfigurationError(
            f"{path} holds no public key of {' or '.join(ALGORITHMS)} with a `kid`; "
            "`riverlight access keys new` makes one, or copy your identity provider's JWKS there"
        )
    return keys


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.json")) if path.is_dir() else [path]


def _usable(key: dict[str, str]) -> bool:
    return "kid" in key and key.get("use", "sig") == "sig" and _algorithm(key) is not None


def _algorithm(key: dict[str, str]) -> str | None:
    kind, said = key.get("kty"), key.get("alg")
    if kind == "OKP" and key.get("crv") != "Ed25519":
        return None
    return next((name for name, needs in ALGORITHMS.items() if needs == kind and said in (None, name)), None)
