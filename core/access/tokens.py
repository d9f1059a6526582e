"""Tokens: signed by this installation for its processes and for people, checked whoever has signed them."""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import structlog

from core.access.jwks import ALGORITHMS, KeySet
from core.access.keys import SigningKey
from core.access.roles import GRANTED, Principal, Role
from core.clock import Clock
from core.errors import InvalidInput, Unauthenticated
from core.settings import AuthSettings

_log = structlog.get_logger(__name__)

OWN_ISSUER = "riverlight"
MAX_TOKEN_CHARACTERS = 8 * 1024
_MAX_SUBJECT = 255
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "the token has expired"),
    (jwt.ImmatureSignatureError, "the token is not valid yet"),
    (jwt.InvalidAudienceError, "the token is meant for somebody else (aud)"),
    (jwt.MissingRequiredClaimError, "the token lacks one of exp, iat, sub, aud"),
)


def issue(
    key: SigningKey, *, subject: str, roles: Iterable[Role], lifetime: timedelta, settings: AuthSettings, clock: Clock
) -> str:
    """Sign a token of this installation.

    Raises:
        InvalidInput: no role, no subject, or a life longer than `auth.max_lifetime_s`.
    """
    names = sorted(set(roles))
    if not names or not subject or len(subject) > _MAX_SUBJECT:
        raise InvalidInput("a token needs a subject of at most 255 characters and at least one role")
    if not timedelta(0) < lifetime <= timedelta(seconds=settings.max_lifetime_s):
        asked_s = lifetime.total_seconds()
        raise InvalidInput(
            f"a token lives at most {settings.max_lifetime_s:g} s here (auth.max_lifetime_s): {asked_s:g}"
        )
    now = clock.now()
    claims = {
        "iss": OWN_ISSUER,
        "aud": settings.audience,
        "sub": subject,
        "roles": names,
        "iat": int(now.timestamp()),
        "exp": int((now + lifetime).timestamp()),
        "jti": secrets.token_hex(8),
    }
    return jwt.encode(claims, key.private, algorithm="EdDSA", headers={"kid": key.kid})


@dataclass(frozen=True)
class _Issuer:
    keys: KeySet
    roles_claim: str
    role_prefix: str
    grants: frozenset[Role]


class TokenVerifier:
    """Decides who a token makes its bearer. Only its signature, by a key that was configured, is believed."""

    def __init__(self, settings: AuthSettings, own_keys: Path, clock: Clock) -> None:
        """Read the keys: this installation's (`own_keys`), and the identity provider's when one is configured.

        Raises:
            ConfigurationError: keys are missing or cannot be read.
        """
        self._settings = settings
        self._issuers: dict[str, _Issuer] = {}
        if settings.issuer is None or own_keys.exists():
            own = KeySet(own_keys, clock.monotonic)
            self._issuers[OWN_ISSUER] = _Issuer(own, "roles", "", frozenset(Role))
        if settings.issuer is not None and settings.jwks is not None:
            theirs = KeySet(settings.jwks, clock.monotonic)
            self._issuers[settings.issuer] = _Issuer(
                theirs, settings.roles_claim, settings.role_prefix, frozenset(GRANTED)
            )

    def verify(self, token: str) -> Principal:
        """Return whom the token makes its bearer.

        Raises:
            Unauthenticated: it is no token, not signed by a known key, not for us, not now, or for too long.
        """
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise Unauthenticated("the token is too long")
        try:
            header = jwt.get_unverified_header(token)
            said = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError, RecursionError):
            raise Unauthenticated("that is not a signed token (JWT)") from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise Unauthenticated(f"tokens are signed with {' or '.join(ALGORITHMS)}")
        issuer = self._issuers.get(said) if isinstance(said, str) else None
        if issuer is None:
            raise Unauthenticated("the token's issuer (iss) is not known here")
        key = issuer.keys.get(kid) if isinstance(kid, str) else None
        if key is None or key.algorithm_name != algorithm:
            raise Unauthenticated("the token's key (kid) is not known here, or is for another algorithm")
        claims = self._checked(token, key, str(said))
        return Principal(str(claims["sub"]), self._roles(claims, issuer))

    def _checked(self, token: str, key: jwt.PyJWK, issuer: str) -> Mapping[str, Any]:
        settings = self._settings
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=settings.audience,
                issuer=issuer,
                leeway=settings.leeway_s,
                options={"require": ["exp", "iat", "sub", "aud", "iss"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            said = next((text for kind, text in _REASONS if isinstance(error, kind)), "the token is not valid")
            raise Unauthenticated(said) from None
        if any(isinstance(claims[name], bool) or not isinstance(claims[name], int | float) for name in ("exp", "iat")):
            raise Unauthenticated("the token's times are not numbers")
        if not 0 < claims["exp"] - claims["iat"] <= settings.max_lifetime_s:
            raise Unauthenticated(f"the token lives longer than the {settings.max_lifetime_s:g} s allowed here")
        if not claims["sub"] or len(claims["sub"]) > _MAX_SUBJECT:
            raise Unauthenticated("the token's subject is empty or too long")
        return claims

    def _roles(self, claims: Mapping[str, Any], issuer: _Issuer) -> frozenset[Role]:
        value: Any = claims
        for part in issuer.roles_claim.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        names = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
        wanted = {issuer.role_prefix + role: role for role in issuer.grants}
        return frozenset(wanted[name] for name in names if isinstance(name, str) and name in wanted)
