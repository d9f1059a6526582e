import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from core.access.credentials import SignedHere, TokenFile, credentials, no_headers
from core.access.roles import Role
from core.access.tokens import TokenVerifier, issue
from core.clock import SystemClock
from core.errors import ConfigurationError, InvalidInput, Unauthenticated, Unavailable
from core.settings import AuthSettings, Settings
from tests.unit.core.access.token_factory import WRONG, TokenFactory, claims

CLOCK = SystemClock()


@pytest.fixture
def factory(tmp_path):
    return TokenFactory(tmp_path / "access")


@pytest.fixture
def verifier(factory):
    return TokenVerifier(factory.settings, factory.folder.public_file, CLOCK)


def test_a_token_made_here_is_believed_here(factory, verifier):
    token = issue(
        factory.key,
        subject="ada",
        roles=[Role.reader, Role.producer],
        lifetime=timedelta(minutes=15),
        settings=factory.settings,
        clock=CLOCK,
    )
    principal = verifier.verify(token)
    assert (principal.subject, principal.roles) == ("ada", {Role.reader, Role.producer})


@pytest.mark.parametrize("kind", WRONG)
def test_a_token_that_is_not_in_order_is_refused_without_being_repeated(factory, verifier, kind):
    token = WRONG[kind](factory, tuple(Role))
    with pytest.raises(Unauthenticated) as refused:
        verifier.verify(token)
    assert token[:20] not in str(refused.value)
    assert refused.value.__cause__ is None  # a chained exception would bring the token into the log


def test_clocks_may_differ_by_the_leeway_and_no_more(factory, verifier):
    now = int(datetime.now(UTC).timestamp())
    verifier.verify(factory.right(Role.reader, iat=now - 300, exp=now - 5))
    with pytest.raises(Unauthenticated, match="expired"):
        verifier.verify(factory.right(Role.reader, iat=now - 300, exp=now - 15))


def test_a_token_cannot_be_made_for_longer_than_is_accepted(factory):
    with pytest.raises(InvalidInput, match="max_lifetime_s"):
        issue(
            factory.key,
            subject="ada",
            roles=[Role.admin],
            lifetime=timedelta(hours=1),
            settings=factory.settings,
            clock=CLOCK,
        )


@pytest.fixture
def provider(tmp_path):
    """An identity provider: its RSA key, and the settings that trust it."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    jwk = {**RSAAlgorithm.to_jwk(private.public_key(), as_dict=True), "kid": "idp-1"}
    (tmp_path / "idp.json").write_text(json.dumps({"keys": [jwk]}))
    settings = AuthSettings(
        mode="tokens",
        issuer="https://idp.example",
        jwks=tmp_path / "idp.json",
        roles_claim="realm_access.roles",
        role_prefix="riverlight-",
    )
    return private, settings


def provider_token(private, names, **changes):
    what = claims((), sub="ada", iss="https://idp.example", realm_access={"roles": names}, **changes)
    return jwt.encode(what, private, algorithm="RS256", headers={"kid": "idp-1"})


def test_an_identity_providers_roles_are_read_where_the_settings_say(provider, tmp_path):
    private, settings = provider
    verifier = TokenVerifier(settings, tmp_path / "none.json", CLOCK)
    token = provider_token(private, ["riverlight-reader", "reviewer", "riverlight-unknown", 7])
    assert verifier.verify(token).roles == {Role.reader}


def test_an_identity_provider_cannot_make_services_nor_sign_for_this_installation(provider, factory):
    private, settings = provider
    verifier = TokenVerifier(settings, factory.folder.public_file, CLOCK)
    assert verifier.verify(provider_token(private, ["riverlight-service", "riverlight-admin"])).roles == {Role.admin}
    assert verifier.verify(factory.right(Role.service)).roles == {Role.service}
    posing = jwt.encode(claims((Role.service,), sub="x"), private, algorithm="RS256", headers={"kid": "idp-1"})
    with pytest.raises(Unauthenticated, match="kid"):
        verifier.verify(posing)


def test_roles_may_be_written_as_one_text(provider, tmp_path):
    private, settings = provider
    verifier = TokenVerifier(settings, tmp_path / "none.json", CLOCK)
    assert verifier.verify(provider_token(private, "riverlight-reader riverlight-producer")).roles == {
        Role.reader,
        Role.producer,
    }


def test_without_any_key_nothing_is_verified(tmp_path):
    with pytest.raises(ConfigurationError):
        TokenVerifier(AuthSettings(mode="tokens"), tmp_path / "jwks.json", CLOCK)


def test_a_process_shows_the_newest_token_of_its_file(tmp_path):
    file = tmp_path / "token"
    shown = TokenFile(file)
    file.write_text("one\n")
    assert shown() == {"authorization": "Bearer one"}
    file.write_text("two\n")
    assert shown() == {"authorization": "Bearer two"}
    file.unlink()
    with pytest.raises(Unavailable, match="service token"):
        shown()


class LaterClock(SystemClock):
    later = 0.0

    def monotonic(self):
        return super().monotonic() + self.later


def test_a_process_with_the_key_signs_for_itself_and_again_in_time(factory, verifier):
    clock = LaterClock()
    shown = SignedHere(factory.folder.folder, factory.settings, clock, subject="worker", roles=(Role.service,))
    first = shown()["authorization"]
    assert verifier.verify(first.removeprefix("Bearer ")).roles == {Role.service}
    assert shown()["authorization"] == first
    clock.later = factory.settings.max_lifetime_s * 0.6
    assert shown()["authorization"] != first


def test_where_access_is_open_nothing_is_shown(tmp_path):
    assert credentials(Settings(home=tmp_path), CLOCK, subject="worker", roles=(Role.service,)) is no_headers
