import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from core.access.jwks import KeySet, read_keys
from core.access.keys import KeyFolder
from core.errors import ConfigurationError, NotFound

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Ticks:
    """Monotonic seconds that only pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 2.0
        return self.now


def rsa_jwk(bits: int, kid: str, **more: str) -> dict[str, str]:
    public = rsa.generate_private_key(public_exponent=65537, key_size=bits).public_key()
    return {**RSAAlgorithm.to_jwk(public, as_dict=True), "kid": kid, **more}


def test_a_private_key_can_be_read_by_its_owner_alone_and_its_public_half_holds_no_secret(tmp_path):
    folder = KeyFolder(tmp_path / "access")
    key = folder.new(NOW)
    assert (tmp_path / "access" / f"{key.kid}.pem").stat().st_mode & 0o777 == 0o600
    [published] = json.loads(folder.public_file.read_text())["keys"]
    assert (published["kid"], published["alg"], "d" in published) == (key.kid, "EdDSA", False)


def test_the_newest_key_signs_and_the_old_one_is_accepted_until_it_is_dropped(tmp_path):
    folder = KeyFolder(tmp_path)
    old, new = folder.new(NOW), folder.new(NOW + timedelta(days=1))
    assert folder.signing().kid == new.kid
    keys = KeySet(folder.public_file, Ticks())
    assert keys.get(old.kid) and keys.get(new.kid)
    folder.drop(old.kid)
    assert keys.get(old.kid) is None
    assert keys.get(new.kid)
    with pytest.raises(NotFound, match=new.kid):
        folder.drop(old.kid)


def test_a_private_key_that_everybody_can_read_is_refused(tmp_path):
    folder = KeyFolder(tmp_path)
    key = folder.new(NOW)
    (tmp_path / f"{key.kid}.pem").chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        folder.signing()


def test_without_a_key_the_message_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigurationError, match="riverlight access keys new"):
        KeyFolder(tmp_path).signing()
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    with pytest.raises(ConfigurationError, match="riverlight access keys new"):
        read_keys(tmp_path / "jwks.json")


def test_keys_that_are_half_written_leave_those_known_before_in_force(tmp_path):
    folder = KeyFolder(tmp_path)
    key = folder.new(NOW)
    keys = KeySet(folder.public_file, Ticks())
    folder.public_file.write_text('{"keys": [')
    assert keys.get(key.kid) is not None
    folder.public_file.unlink()
    assert keys.get(key.kid) is not None


def test_only_strong_asymmetric_signing_keys_are_taken_from_a_jwks(tmp_path):
    file = tmp_path / "keys.json"
    symmetric = {"kty": "oct", "kid": "secret", "k": "c2VjcmV0", "alg": "HS256"}
    for_encryption = rsa_jwk(2048, "enc", use="enc")
    pss = rsa_jwk(2048, "pss", alg="PS256")
    file.write_text(json.dumps({"keys": [rsa_jwk(2048, "good"), symmetric, for_encryption, pss]}))
    assert set(read_keys(file)) == {"good"}
    file.write_text(json.dumps({"keys": [rsa_jwk(1024, "weak")]}))
    with pytest.raises(ConfigurationError, match="2048 bits"):
        read_keys(file)


@pytest.mark.parametrize("text", ["", "[]", '{"keys": [7]}', '{"keys": [{"kty": "RSA", "kid": "x"}]}', "{" * 5000])
def test_what_is_no_jwks_is_refused_with_its_name(tmp_path, text):
    file = tmp_path / "keys.json"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"keys\.json"):
        read_keys(file)


def test_a_folder_may_hold_several_files_and_no_key_id_twice(tmp_path):
    one = rsa_jwk(2048, "one")
    (tmp_path / "a.json").write_text(json.dumps({"keys": [one]}))
    (tmp_path / "b.json").write_text(json.dumps({"keys": [rsa_jwk(2048, "two")]}))
    assert set(read_keys(tmp_path)) == {"one", "two"}
    (tmp_path / "b.json").write_text(json.dumps({"keys": [one]}))
    with pytest.raises(ConfigurationError, match="twice"):
        read_keys(tmp_path)
