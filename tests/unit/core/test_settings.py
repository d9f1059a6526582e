import pytest
from pydantic import BaseModel

from core.errors import ConfigurationError
from core.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("RIVERLIGHT_HOME", "RIVERLIGHT_CONFIG", "RIVERLIGHT_HTTP__PORT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_an_argument_wins_over_the_environment_and_that_over_the_file(empty_folder, monkeypatch):
    (empty_folder / "riverlight.toml").write_text('home = "from-file"\n[http]\nport = 1000\n[index]\nkind = "flat"\n')
    assert load_settings().http.port == 1000
    monkeypatch.setenv("RIVERLIGHT_HTTP__PORT", "2000")
    settings = load_settings(home="from-argument")
    assert settings.http.port == 2000
    assert str(settings.home) == "from-argument"
    assert settings.index.kind == "flat"


def test_a_wrong_setting_is_named_with_its_reason(monkeypatch):
    monkeypatch.setenv("RIVERLIGHT_HTTP__PORT", "seventy")
    with pytest.raises(ConfigurationError, match=r"http\.port.*integer"):
        load_settings()


def test_a_misspelt_setting_is_refused(empty_folder):
    (empty_folder / "riverlight.toml").write_text("[http]\nprot = 1\n")
    with pytest.raises(ConfigurationError, match=r"http\.prot"):
        load_settings()


def test_production_refuses_a_broker_that_forgets():
    with pytest.raises(ConfigurationError, match="embedded"):
        load_settings(profile="production", broker={"kind": "embedded"})


def test_the_local_profile_refuses_to_be_seen_from_outside():
    with pytest.raises(ConfigurationError, match="loopback"):
        load_settings(http={"host": "0.0.0.0"})


@pytest.mark.parametrize(
    "unsafe", [{"http": {"host": "0.0.0.0"}}, {"http": {"host": "10.0.0.5"}}, {"profile": "production"}]
)
def test_only_the_local_profile_on_loopback_may_ask_nobody_who_they_are(unsafe):
    safe_broker = {"kind": "kafka:9092", "replication_factor": 3}
    with pytest.raises(ConfigurationError, match=r"auth\.mode"):
        load_settings(**unsafe, broker=safe_broker)
    load_settings(**unsafe, broker=safe_broker, auth={"mode": "tokens"})


def test_an_identity_provider_needs_its_name_and_its_keys():
    with pytest.raises(ConfigurationError, match=r"auth\.jwks"):
        load_settings(auth={"issuer": "https://idp.example"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"rates": {"search": "often"}},
        {"rates": {"media": "10/fortnight"}},
        {"rates": {"read": "10/minute;"}},
        {"http": {"trusted_proxies": ["10.0.0.1/8"]}},
        {"http": {"trusted_proxies": ["proxy.example"]}},
    ],
)
def test_rates_and_proxies_that_nobody_understands_are_refused(wrong):
    [[section, [name, *_]]] = [(section, list(values)) for section, values in wrong.items()]
    with pytest.raises(ConfigurationError, match=rf"{section}\.{name}"):
        load_settings(**wrong)


def test_everything_lives_under_home_unless_told_otherwise(empty_folder):
    settings = load_settings(home=str(empty_folder / "h"))
    assert settings.catalogue_url == f"sqlite:///{empty_folder / 'h' / 'catalogue.db'}"
    assert settings.objects_url == (empty_folder / "h" / "objects").as_uri()


def test_every_setting_says_what_it_is():
    def walk(model: type[BaseModel], path: str):
        for name, field in model.model_fields.items():
            annotation = field.annotation
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                assert annotation.__doc__, f"{path}{name}"
                walk(annotation, f"{path}{name}.")
            else:
                assert field.description and field.description.endswith((".", "`")), f"{path}{name}"

    walk(Settings, "")


def test_secrets_are_read_from_a_folder_as_kubernetes_mounts_it_and_never_win_over_the_environment(
    empty_folder, monkeypatch
):
    version = empty_folder / "secrets" / "..2026_11_22"
    version.mkdir(parents=True)
    (version / "catalogue__url").write_text("postgresql+psycopg://riverlight:hunter2@postgres/riverlight\n")
    (version / "features__redis_url").write_text("redis:6379,password=hunter2")
    (empty_folder / "secrets" / "..data").symlink_to(version.name)
    for name in ("catalogue__url", "features__redis_url"):
        (empty_folder / "secrets" / name).symlink_to(f"..data/{name}")
    monkeypatch.setenv("RIVERLIGHT_SECRETS", str(empty_folder / "secrets"))
    monkeypatch.setenv("RIVERLIGHT_FEATURES__REDIS_URL", "elsewhere:6379")
    settings = load_settings()
    assert settings.catalogue_url == "postgresql+psycopg://riverlight:hunter2@postgres/riverlight"
    assert settings.features.redis_url == "elsewhere:6379"


def test_a_folder_of_secrets_that_is_not_there_is_refused(empty_folder, monkeypatch):
    monkeypatch.setenv("RIVERLIGHT_SECRETS", str(empty_folder / "secrets"))
    with pytest.raises(ConfigurationError, match="RIVERLIGHT_SECRETS"):
        load_settings()


def test_a_secret_that_is_no_setting_is_refused(empty_folder, monkeypatch):
    (empty_folder / "secrets").mkdir()
    (empty_folder / "secrets" / "catalogue__ulr").write_text("x")
    monkeypatch.setenv("RIVERLIGHT_SECRETS", str(empty_folder / "secrets"))
    with pytest.raises(ConfigurationError, match="ulr"):
        load_settings()


def test_the_api_is_found_where_it_binds_unless_another_place_is_named():
    assert load_settings(http={"port": 9}).api_url == "http://127.0.0.1:9"
    assert load_settings(http={"url": "http://serve:8080/"}).api_url == "http://serve:8080"
