"""What authors are told, by language: one YAML file each, all with the same keys."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

LANGUAGES = ("en", "de", "es", "fr")
FALLBACK = "en"


def supported(language: str) -> str:
    """Return the language that somebody who wants `language` (BCP 47) is told things in."""
    base = language.replace("_", "-").partition("-")[0].lower()
    return base if base in LANGUAGES else FALLBACK


@cache
def messages(language: str) -> Mapping[str, Any]:
    """Return the sentences of one of `LANGUAGES`."""
    return yaml.safe_load((files(__package__) / f"{language}.yaml").read_text("utf-8"))
