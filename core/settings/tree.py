"""The whole tree, where its values come from, and the environment. The only module that reads the environment."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from core.errors import ConfigurationError
from core.settings.callers import AuthSettings, HttpSettings, RateSettings
from core.settings.learning import LearningSettings
from core.settings.learning_moderation import LearningModerationSettings
from core.settings.moderation import ModerationSettings
from core.settings.processing import (
    EncoderSettings,
    FeatureSettings,
    MediaSettings,
    StreamSettings,
    TextEncoderSettings,
)
from core.settings.recommendation import RecommendationSettings
from core.settings.running import MonitoringSettings, ServingSettings, TracingSettings
from core.settings.search import IndexSettings, SearchSettings
from core.settings.storage import BrokerSettings, CatalogueSettings, ObjectSettings, ProducerSettings

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="RIVERLIGHT_",
        env_nested_delimiter="__",
    )

    home: Path = Field(Path("var"), description="Everything a command leaves lives under this folder.")
    profile: Literal["local", "production"] = Field(
        "local",
        description="`production` refuses unsafe settings: volatile broker, open bind without authentication.",
    )
    http: HttpSettings = HttpSettings()
    auth: AuthSettings = AuthSettings()
    rates: RateSettings = RateSettings()
    broker: BrokerSettings = BrokerSettings()
    producer: ProducerSettings = ProducerSettings()
    catalogue: CatalogueSettings = CatalogueSettings()
    objects: ObjectSettings = ObjectSettings()
    features: FeatureSettings = FeatureSettings()
    streams: StreamSettings = StreamSettings()
    media: MediaSettings = MediaSettings()
    encoder: EncoderSettings = EncoderSettings()
    text_encoder: TextEncoderSettings = TextEncoderSettings()
    index: IndexSettings = IndexSettings()
    search: SearchSettings = SearchSettings()
    recommendation: RecommendationSettings = RecommendationSettings()
    learning: LearningSettings = LearningSettings()
    moderation: ModerationSettings = ModerationSettings()
    learning_moderation: LearningModerationSettings = LearningModerationSettings()
    serving: ServingSettings = ServingSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    tracing: TracingSettings = TracingSettings()

    @model_validator(mode="after")
    def _refuse_unsafe(self) -> "Settings":
        if self.profile == "production":
            if self.broker.kind == "embedded":
                raise ValueError("broker.kind: the embedded broker loses everything at a restart; not in production")
            if self.broker.replication_factor < 2:
                raise ValueError("broker.replication_factor: production needs at least 2 (better 3)")
        if self.auth.mode == "open" and (self.profile != "local" or self.http.host not in LOOPBACK_HOSTS):
            raise ValueError(
                "auth.mode: `open` asks nobody who they are, which only the local profile on loopback may "
                f"(profile is {self.profile}, http.host is {self.http.host}); set auth.mode to `tokens`"
            )
        if (self.auth.issuer is None) != (self.auth.jwks is None):
            raise ValueError("auth.issuer and auth.jwks: an identity provider needs both")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        sources: list[PydanticBaseSettingsSource] = [init_settings, EnvSettingsSource(settings_cls)]
        if secrets := os.environ.get("RIVERLIGHT_SECRETS"):
            sources.append(_secrets(settings_cls, Path(secrets)))
        file = Path(os.environ.get("RIVERLIGHT_CONFIG", "riverlight.toml"))
        if file.is_file():
            sources.append(TomlConfigSettingsSource(settings_cls, toml_file=file))
        return tuple(sources)

    @property
    def api_url(self) -> str:
        """Where other processes reach the API, without a slash at the end."""
        return (self.http.url or f"http://{self.http.host}:{self.http.port}").rstrip("/")

    @property
    def own_keys_folder(self) -> Path:
        """Where this installation's own keys are."""
        return self.auth.keys or self.home.resolve() / "access"

    @property
    def catalogue_url(self) -> str:
        return self.catalogue.url or f"sqlite:///{self.home.resolve() / 'catalogue.db'}"

    @property
    def objects_url(self) -> str:
        return self.objects.url or (self.home.resolve() / "objects").as_uri()


def _secrets(settings_cls: type[BaseSettings], folder: Path) -> PydanticBaseSettingsSource:
    """Return the source that reads one file a setting: what compose and Kubernetes mount as secrets."""
    if not folder.is_dir():
        raise ConfigurationError(f"RIVERLIGHT_SECRETS names {folder}, which is no folder")
    return NestedSecretsSettingsSource(
        settings_cls,  # type: ignore[arg-type]  # it takes the class as well, and says so in a comment
        secrets_dir=folder,
        secrets_prefix="",
        secrets_nested_delimiter="__",
    )


def load_settings(**overrides: Any) -> Settings:
    """Build the settings from arguments, environment and file.

    Raises:
        ConfigurationError: naming each setting that is wrong, where it is set and what is allowed.
    """
    try:
        return Settings(**{key: value for key, value in overrides.items() if value is not None})
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in item['loc']) or 'settings'}: {item['msg']}" for item in error.errors()
        ]
        raise ConfigurationError(
            "settings are not valid (environment RIVERLIGHT_*, riverlight.toml):\n" + "\n".join(lines)
        ) from error


def child_environment(**changes: str) -> dict[str, str]:
    """Return this process's environment with changes, for a process that is about to be started."""
    return {**os.environ, **changes}


def set_environment(**values: str) -> None:
    """Give this process, and those it starts, variables that a library reads; what is set already stays."""
    for name, value in values.items():
        os.environ.setdefault(name, value)


@contextmanager
def environment_for_now(**values: str) -> Iterator[None]:
    """Give this process, and those it starts, variables until the block ends; then they are as they were."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
