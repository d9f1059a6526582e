"""What the platform promises and how each promise is watched: the rows of the overview and of docs/slo.md."""

from dataclasses import dataclass

from monitoring.alerts import (
    ALERTS,
    DEGRADED_AT_MOST,
    ENFORCED_WITHIN_S,
    MODEL_OLD_AFTER_S,
    RECALL_AT_LEAST,
    STALE_AFTER_S,
    Alert,
)
from monitoring.objectives import ANSWERED, CANARY_WITHIN_S, FAST, GONE, SEARCHABLE, Objective


@dataclass(frozen=True)
class Promise:
    """One promise. `alerts` are the names of the alerts that say it is broken, or about to be."""

    name: str
    title: str
    target: str
    measured_by: str
    alerts: tuple[str, ...]

    def all_alerts(self) -> list[Alert]:
        """Return the alerts themselves."""
        return [alert for alert in ALERTS if alert.name in self.alerts]


def _kept(objective: Objective, title: str, target: str, *more: str) -> Promise:
    alerts = (f"{objective.alert}BurnsFast", f"{objective.alert}BurnsSlowly", *more)
    return Promise(objective.name, title, target, objective.measured_by, alerts)


def _share(objective: Objective) -> str:
    return f"{objective.target * 100:g} %"


PROMISES: tuple[Promise, ...] = (
    _kept(
        SEARCHABLE,
        "Fresh: an upload is searchable within a second",
        f"{_share(SEARCHABLE)} of canary uploads within {CANARY_WITHIN_S:g} s",
        "CanarySilent",
        "EncoderFails",
    ),
    _kept(
        GONE,
        "Gone: what is hidden or deleted is in no answer a second later",
        f"{_share(GONE)} of canary deletions within {CANARY_WITHIN_S:g} s",
    ),
    Promise(
        "kept",
        "Nothing lost: every accepted event is applied, waits, or is a dead letter",
        "no dead letter unseen; no backlog that does not shrink",
        "dead letters, consumer lag, outbox",
        ("DeadLetters", "DeadLettersMany", "ConsumerStuck", "AgentWaits", "OutboxStuck"),
    ),
    _kept(
        ANSWERED,
        "Answered: requests are neither refused because of load nor failed",
        f"{_share(ANSWERED)} of requests",
        "ProcessDown",
        "KeepsRestarting",
    ),
    _kept(FAST, "Fast: answers are there in time", f"{_share(FAST)} of successful answers within their route's time"),
    Promise(
        "right",
        "Right: what is found is what is there",
        f"live recall of at least {RECALL_AT_LEAST:g}; the index follows its log",
        "a share of the live searches, repeated exactly; index lag",
        ("RecallLow", "IndexBehind", "IndexEntriesInvalid", "SnapshotOld"),
    ),
    Promise(
        "recommended",
        "Recommended: homepages are personal, complete and of this moment",
        f"{(1 - DEGRADED_AT_MOST) * 100:g} % of homepages with every generator and the ranker, scored by a trained "
        f"model; events known within {STALE_AFTER_S} s",
        "answers by what made them, generator calls, freshness, promises to new videos",
        (
            "RecommendationsDegraded",
            "GeneratorLeftOut",
            "NoRecommendationModel",
            "RecommendationsStale",
            "PromisesBroken",
        ),
    ),
    Promise(
        "moderated",
        "Moderated: a post is decided about within a second, and never let through because something failed",
        "99 % of posts decided within 1 s; what cannot be scored waits for a person",
        "posts, from being written to their decision being stored; posts that could not be scored",
        ("DecisionsLate", "PostsNotScored", "PolicyRefused"),
    ),
    Promise(
        "enforced",
        "Enforced: what is judged harmful is in no answer a second later",
        f"99 % of what is taken down within {ENFORCED_WITHIN_S:g} s of the decision, a machine's or a person's",
        "verdicts, from their decision to being applied where answers are made",
        ("EnforcedLate",),
    ),
    Promise(
        "current",
        "Current: models and features are of today",
        f"a model younger than {MODEL_OLD_AFTER_S // 86_400} days, the same one in index and encoder; "
        "what is promoted is served; features reach the online store; what models are asked is what they learned from",
        "the model's age, entries of another model, versions refused, features waiting, drift",
        ("ModelOld", "ModelMismatch", "ModelRefused", "FeaturesStale", "InputDrift", "EmbeddingDrift", "ScoreDrift"),
    ),
    Promise(
        "means",
        "Within its means: memory, processors and queues have room",
        "no leak, no core full for a quarter of an hour, nothing refused for five minutes",
        "resident memory, processor seconds, open files, shed requests",
        ("MemoryGrows", "ProcessorFull", "FilesRunOut", "Shedding"),
    ),
)
