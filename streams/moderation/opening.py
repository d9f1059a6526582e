"""Opens what moderation on the stream side works with, and keeps policy and known-harm lists up to date."""

import asyncio
from dataclasses import dataclass

import structlog

from core.clock import Clock
from core.errors import RiverlightError
from core.moderation import Moderator
from core.settings import ModerationSettings
from models.moderation.known_harm import KnownHarm
from models.moderation.policy import PolicyFile, PolicyState
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from storage.catalogue import Catalogue
from storage.moderation import ModerationStore
from streams.moderation.feed import FeatureFeed
from streams.moderation.judges import PostJudges
from streams.moderation.known_media import KnownMediaList

_log = structlog.get_logger("streams.moderation")


@dataclass
class ModerationParts:
    """What the agents of moderation are given."""

    store: ModerationStore
    judges: PostJudges
    policy: PolicyFile
    known: KnownMediaList
    check_s: float

    async def keep_up(self) -> None:
        """Follow the policy file and the known-harm lists until cancelled."""
        while True:
            try:
                if await asyncio.to_thread(self.policy.check):
                    await asyncio.to_thread(self.remember_policy)
                await asyncio.to_thread(self.known.catch_up)
            except RiverlightError as error:  # what is in force stays; the next look is soon
                _log.warning("moderation_not_up_to_date", error=str(error))
            await asyncio.sleep(self.check_s)

    def remember_policy(self) -> None:
        """Keep the text of the policy in force, so that decisions can be explained when the file is another."""
        policy = self.policy.policy
        self.store.put_policy(policy.version, policy.model_dump_json())


def open_moderation(
    catalogue: Catalogue,
    moderator: Moderator,
    settings: ModerationSettings,
    recorder: Recorder,
    clock: Clock,
    feed: FeatureFeed | None = None,
) -> ModerationParts:
    """Open store, policy and known-harm lists. Blocks while a million known hashes are read (a second or two).

    `feed` is told what is counted of posts that are judged.

    Raises:
        ConfigurationError: the policy file cannot be used.
        Unavailable: the catalogue does not answer.
    """
    store = ModerationStore(catalogue.database, clock)

    def told(state: PolicyState) -> None:
        recorder.count(metrics.MODERATION_POLICY, outcome="refused" if state.error else "loaded")
        log = _log.error if state.error else _log.info
        log("policy", version=state.policy.version, source=state.source, error=state.error or None)

    policy = PolicyFile(settings.policy, on_change=told)
    known = KnownMediaList(KnownHarm(), store)
    known.catch_up()
    judges = PostJudges(store, moderator, lambda: policy.policy, known, recorder, clock, settings, feed)
    parts = ModerationParts(store, judges, policy, known, settings.policy_check_s)
    parts.remember_policy()
    return parts
