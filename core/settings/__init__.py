"""All settings, as one frozen tree built once in an entry point and handed out in pieces.

Sources, the first that has a value wins: arguments, environment variables (`RIVERLIGHT_HTTP__PORT=9000`), a folder of
secrets (named by `RIVERLIGHT_SECRETS`, one file a setting: `catalogue__url`), a TOML file (`riverlight.toml`, or the
file named by `RIVERLIGHT_CONFIG`), the defaults in the sections.
"""

from core.settings.callers import AuthSettings, HttpSettings, Rate, RateSettings
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
from core.settings.section import Section
from core.settings.storage import BrokerSettings, CatalogueSettings, ObjectSettings, ProducerSettings
from core.settings.tree import (
    LOOPBACK_HOSTS,
    Settings,
    child_environment,
    environment_for_now,
    load_settings,
    set_environment,
)

__all__ = [
    "LOOPBACK_HOSTS",
    "AuthSettings",
    "BrokerSettings",
    "CatalogueSettings",
    "EncoderSettings",
    "FeatureSettings",
    "HttpSettings",
    "IndexSettings",
    "LearningModerationSettings",
    "LearningSettings",
    "MediaSettings",
    "ModerationSettings",
    "MonitoringSettings",
    "ObjectSettings",
    "ProducerSettings",
    "Rate",
    "RateSettings",
    "RecommendationSettings",
    "SearchSettings",
    "Section",
    "ServingSettings",
    "Settings",
    "StreamSettings",
    "TextEncoderSettings",
    "TracingSettings",
    "child_environment",
    "environment_for_now",
    "load_settings",
    "set_environment",
]
