"""The agents, one per file, each with `register(app, deps)`; one name in code, metrics, alerts and runbooks."""

from collections.abc import Callable

import faust
from faust.types import AgentT

from core.errors import ConfigurationError
from streams.agents import (
    archive,
    author_profiles,
    index_upload,
    interactions,
    moderate_posts,
    moderate_uploads,
    moderation_features,
    post_reactions,
    recommendation_outcomes,
)
from streams.dependencies import StreamDeps

REGISTER: dict[str, Callable[[faust.App, StreamDeps], AgentT]] = {
    index_upload.NAME: index_upload.register,
    interactions.NAME: interactions.register,
    archive.NAME: archive.register,
    recommendation_outcomes.NAME: recommendation_outcomes.register,
    moderate_posts.NAME: moderate_posts.register,
    moderate_uploads.NAME: moderate_uploads.register,
    post_reactions.NAME: post_reactions.register,
    author_profiles.NAME: author_profiles.register,
    moderation_features.NAME: moderation_features.register,
}

NAMES: tuple[str, ...] = tuple(REGISTER)


def check_names(names: tuple[str, ...]) -> None:
    """Raise ConfigurationError unless each name is an agent's."""
    unknown = [name for name in names if name not in REGISTER]
    if unknown or not names:
        raise ConfigurationError(
            f"unknown agents: {', '.join(unknown) or '(none given)'}; agents are {', '.join(NAMES)}"
        )
