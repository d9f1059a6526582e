"""This installation's own keys: a folder of private keys (`<kid>.pem`) and their public halves (`jwks.json`).

A verifier needs `jwks.json` alone. Rotation: make a key (it signs from then on), wait until the last token of the old
one has ended, drop the old one. Verifiers see both changes within a second, without a restart.
"""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from core.errors import ConfigurationError, NotFound

PUBLIC_FILE = "jwks.json"


@dataclass(frozen=True)
class SigningKey:
    """A private key and the id by which verifiers find its public half."""

    kid: str
    private: Ed25519PrivateKey


class KeyFolder:
    """Makes, lists and drops the keys of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def public_file(self) -> Path:
        return self.folder / PUBLIC_FILE

    def new(self, now: datetime) -> SigningKey:
        """Make an Ed25519 key and let verifiers know it. The file of the private half is readable by its owner only."""
        key = SigningKey(f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}", Ed25519PrivateKey.generate())
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        pem = key.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        # The public half first: nobody signs with a key that verifiers do not know.
        self._write_public([*self._public(), public_jwk(key)])
        descriptor = os.open(self.folder / f"{key.kid}.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
        return key

    def ids(self) -> list[str]:
        """Return the ids of the keys that are accepted, the oldest first."""
        return sorted(str(key["kid"]) for key in self._public())

    def drop(self, kid: str) -> None:
        """Forget a key: its tokens are refused from now on. Raises NotFound."""
        public = self._public()
        kept = [key for key in public if key["kid"] != kid]
        if len(kept) == len(public):
            there_are = ", ".join(self.ids()) or "none"
            raise NotFound(f"there is no key {kid!r} in {self.public_file}; there are: {there_are}")
        self._write_public(kept)
        (self.folder / f"{kid}.pem").unlink(missing_ok=True)

    def signing(self) -> SigningKey:
        """Return the newest private key.

        Raises:
            ConfigurationError: there is none, it cannot be read, or others than its owner can.
        """
        files = sorted(self.folder.glob("*.pem"))
        if not files:
            raise ConfigurationError(
                f"there is no private key in {self.folder}; make one with `riverlight access keys new`"
            )
        file = files[-1]
        try:
            if file.stat().st_mode & 0o007:
                raise ConfigurationError(f"everybody can read {file}; `chmod 600` it, or make a new key")
            private = serialization.load_pem_private_key(file.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{file} is no private key that can be read: {type(error).__name__}") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise ConfigurationError(f"{file} is not an Ed25519 key")
        return SigningKey(file.stem, private)

    def _public(self) -> list[dict[str, Any]]:
        try:
            keys: list[dict[str, Any]] = json.loads(self.public_file.read_bytes())["keys"]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{self.public_file} is not a JWKS document: {error}") from error
        return keys

    def _write_public(self, keys: list[dict[str, Any]]) -> None:
        arriving = self.public_file.with_suffix(".arriving")
        arriving.write_text(json.dumps({"keys": keys}, indent=1) + "\n")
        arriving.replace(self.public_file)


def public_jwk(key: SigningKey) -> dict[str, Any]:
    """Return the public half as a JSON Web Key (RFC 7517, 8037)."""
    jwk: Mapping[str, Any] = jwt.algorithms.OKPAlgorithm.to_jwk(key.private.public_key(), as_dict=True)
    return {**jwk, "kid": key.kid, "alg": "EdDSA", "use": "sig"}
