"""How the API is reached, who may call it, and how often."""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from core.settings.section import Section


class HttpSettings(Section):
    """The HTTP API."""

    host: str = Field("127.0.0.1", description="Address the API binds to. Anything but loopback needs authentication.")
    port: int = Field(8080, ge=0, le=65535, description="Port of the API and the console.")
    url: str | None = Field(
        None,
        description="Where workers and the canary reach the API, when that is not `http://<host>:<port>`: another "
        "machine or container.",
    )
    request_timeout_s: float = Field(10.0, gt=0, description="A request that takes longer is answered with 504.")
    keep_alive_s: int = Field(
        75,
        ge=1,
        description="Seconds an idle connection stays open: more than clients and balancers keep theirs (60), or a "
        "call that goes out just as the server closes gets no answer.",
    )
    max_body_bytes: int = Field(
        1024 * 1024, ge=1024, description="Largest body of a JSON request; larger is answered with 413."
    )
    max_upload_bytes: int = Field(20 * 1024 * 1024, ge=1024, description="Largest multipart upload (one media file).")
    max_events_per_call: int = Field(1_000, ge=1, description="Events in one call of the collector.")
    trusted_proxies: tuple[str, ...] = Field(
        (),
        description="Addresses or networks (`10.0.0.0/8`) of proxies in front of the API: `X-Forwarded-For` counts "
        "from them only.",
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ipaddress.ip_network(network)  # its ValueError says what is wrong
        return networks


class AuthSettings(Section):
    """Who may call the API. docs/how-to/access.md has the roles and recipes."""

    mode: Literal["open", "tokens"] = Field(
        "open",
        description="`tokens`: every request shows a signed token. `open`: nobody is asked; allowed in the local "
        "profile on loopback only.",
    )
    audience: str = Field("riverlight", min_length=1, description="The `aud` that a token must be for.")
    keys: Path | None = Field(
        None,
        description="Folder of this installation's own keys (`riverlight access keys new`); to verify, its `jwks.json` "
        "is enough. Unset: `<home>/access`.",
    )
    issuer: str | None = Field(
        None, description="The `iss` of your identity provider. Unset: only this installation's own tokens count."
    )
    jwks: Path | None = Field(
        None,
        description="The identity provider's public keys: a JWKS file, or a folder of them; read again when they "
        "change.",
    )
    roles_claim: str = Field(
        "roles", min_length=1, description="Where the provider's tokens name roles; dots lead inward (`realm.roles`)."
    )
    role_prefix: str = Field("", description="What stands before our role names in the provider's tokens.")
    max_lifetime_s: float = Field(
        900.0, gt=0, le=86_400, description="A token that is made for longer (exp − iat) is refused."
    )
    leeway_s: float = Field(10.0, ge=0, le=120, description="How far clocks may differ.")
    token_file: Path | None = Field(
        None,
        description="The token that this process shows when it calls the API; somebody renews it (`riverlight up` "
        "does). Unset: signed here, with the private key in `auth.keys`.",
    )


_RATE = r"\d+/\d*(second|minute|hour|day)"
Rate = Annotated[str, Field(pattern=rf"^({_RATE}(;{_RATE})*)?$")]


class RateSettings(Section):
    """How often one caller may call: by token subject, or by address where nobody has to show one.

    A rate is written as `600/minute` or `20/second`; several, separated by `;`, must all hold; empty is no limit.
    """

    enabled: bool | None = Field(None, description="Unset: on with `auth.mode=tokens`, off when access is open.")
    search: Rate = Field("1200/minute", description="Searches.")
    media: Rate = Field("600/minute", description="Uploads of media.")
    events: Rate = Field("1200/minute", description="Calls of the collector (each up to `http.max_events_per_call`).")
    read: Rate = Field("3000/minute", description="Everything else that only reads.")
    maintenance: Rate = Field("60/minute", description="Verifying, rebuilding and saving the index.")
    refused: Rate = Field("120/minute", description="Requests with a token that is not valid, by address.")
    storage: str = Field(
        "memory://",
        description="Where calls are counted. Several gateway replicas need one place: `redis://host:port/db`.",
    )
