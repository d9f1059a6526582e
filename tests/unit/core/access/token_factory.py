"""Tokens of every kind, the wrong ones above all."""

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from core.access.keys import KeyFolder, SigningKey
from core.access.roles import Role
from core.access.tokens import OWN_ISSUER
from core.settings import AuthSettings


class TokenFactory:
    """A folder of keys, the settings that trust it, and tokens: right ones by `right`, others by `WRONG`."""

    def __init__(self, folder: Path) -> None:
        self.folder = KeyFolder(folder)
        self.key = self.folder.new(datetime.now(UTC))
        self.settings = AuthSettings(mode="tokens", keys=folder)

    def right(self, *roles: Role, subject: str = "somebody", **changes: Any) -> str:
        """Return a token that is in order, but for `changes` of its claims (None: left out)."""
        return sign(self.key, claims(roles, **{"sub": subject, **changes}))


def claims(roles: tuple[Role, ...], **changes: Any) -> dict[str, Any]:
    now = int(time.time())
    right = {"iss": OWN_ISSUER, "aud": "riverlight", "roles": list(roles), "iat": now, "exp": now + 300, **changes}
    return {name: value for name, value in right.items() if value is not None}


def sign(key: SigningKey, what: dict[str, Any], **header: Any) -> str:
    return jwt.encode(what, key.private, algorithm="EdDSA", headers={"kid": key.kid, **header})


def _segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _unsigned(factory: TokenFactory, what: dict[str, Any], algorithm: str) -> str:
    return f"{_segment({'alg': algorithm, 'kid': factory.key.kid, 'typ': 'JWT'})}.{_segment(what)}."


def _by_the_public_key(factory: TokenFactory, what: dict[str, Any]) -> str:
    """HS256 with the public key for a secret: taken by libraries that let the token choose the algorithm."""
    import hashlib
    import hmac

    secret = factory.key.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = f"{_segment({'alg': 'HS256', 'kid': factory.key.kid})}.{_segment(what)}"
    signature = hmac.new(secret, head.encode(), hashlib.sha256).digest()
    return f"{head}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _somebody_elses_key(factory: TokenFactory, kid: str) -> SigningKey:
    return SigningKey(kid, Ed25519PrivateKey.generate())


def _hour_ago() -> int:
    return int((datetime.now(UTC) - timedelta(hours=1)).timestamp())


#: Name to a function that makes a token which must never be accepted, whatever roles it claims.
WRONG: dict[str, Callable[[TokenFactory, tuple[Role, ...]], str]] = {
    "expired": lambda f, roles: f.right(*roles, iat=_hour_ago(), exp=_hour_ago() + 300),
    "not yet valid": lambda f, roles: f.right(*roles, nbf=int(time.time()) + 300),
    "wrong audience": lambda f, roles: f.right(*roles, aud="somewhere-else"),
    "wrong issuer": lambda f, roles: f.right(*roles, iss="https://evil.example"),
    "alg none": lambda f, roles: _unsigned(f, claims(roles, sub="x"), "none"),
    "alg None": lambda f, roles: _unsigned(f, claims(roles, sub="x"), "None"),
    "no signature": lambda f, roles: f.right(*roles).rpartition(".")[0] + ".",
    "HS256 with the public key": lambda f, roles: _by_the_public_key(f, claims(roles, sub="x")),
    "unknown kid": lambda f, roles: sign(_somebody_elses_key(f, "unknown"), claims(roles, sub="x")),
    "known kid, other key": lambda f, roles: sign(_somebody_elses_key(f, f.key.kid), claims(roles, sub="x")),
    "no kid": lambda f, roles: jwt.encode(claims(roles, sub="x"), f.key.private, algorithm="EdDSA"),
    "times that are texts": lambda f, roles: f.right(*roles, exp=str(int(time.time()) + 300)),
    "no exp": lambda f, roles: f.right(*roles, exp=None),
    "no sub": lambda f, roles: sign(f.key, claims(roles)),
    "lives too long": lambda f, roles: f.right(*roles, exp=int(time.time()) + 86_400),
    "changed after signing": lambda f, roles: ".".join(
        part if number != 1 else _segment(claims((*roles, Role.admin), sub="x"))
        for number, part in enumerate(f.right(*roles).split("."))
    ),
    "no token at all": lambda f, roles: "x" * 40,
    "very long": lambda f, roles: "a." * 20_000,
}
