"""Without moderation the platform is the same, less what moderates."""

from pathlib import Path

import pytest

from core.settings import ModerationSettings, Settings
from infra.supervisor.profile import local_profile
from serving.app import ENCODER, GATEWAY, MODERATOR, build_app
from streams.agents import NAMES
from streams.worker import wanted_agents


@pytest.fixture(params=[True, False], ids=["on", "off"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    made = Settings(home=tmp_path, moderation=ModerationSettings(enabled=request.param))
    ports = {"http": {"port": 0}, "monitoring": {"worker_metrics_port": 0, "prometheus": False}}
    return made.model_copy(
        update={name: getattr(made, name).model_copy(update=values) for name, values in ports.items()}
    )


def test_the_moderator_is_served_only_where_posts_are_moderated(settings: Settings) -> None:
    expected = {ENCODER, GATEWAY, MODERATOR} if settings.moderation.enabled else {ENCODER, GATEWAY}
    assert set(build_app(settings)) == expected


def test_the_local_profile_runs_agents_of_moderation_only_where_posts_are_moderated(settings: Settings) -> None:
    commands = [" ".join(spec.command()) for spec in local_profile(settings).specs if spec.name.startswith("worker-")]
    for agent in ("moderate-posts", "post-reactions", "author-profiles"):
        assert any(agent in command for command in commands) == settings.moderation.enabled, agent
    for agent in ("index-upload", "interactions", "archive"):
        assert any(agent in command for command in commands), agent


def test_workers_that_are_told_to_run_them_all_the_same_leave_them_out(settings: Settings) -> None:
    """Manifests of Compose and Kubernetes name every agent."""
    run = wanted_agents(NAMES, settings)
    assert {"index-upload", "interactions", "archive", "recommendation-outcomes"} <= set(run)
    moderating = {"moderate-posts", "post-reactions", "author-profiles", "moderation-features"} & set(run)
    assert len(moderating) == (4 if settings.moderation.enabled else 0)
    assert not any("moderat" in name for name in run if not settings.moderation.enabled)
    assert wanted_agents(["archive"], settings) == ("archive",)
