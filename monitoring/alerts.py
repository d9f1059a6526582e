"""Every alert, as data. `severity`: `page` wakes somebody, `ticket` waits for the morning.

A page means that people notice, or will within the hour; everything else is a ticket. Each alert has a runbook page
(docs/runbooks/), and is tried with promtool in tests/unit/monitoring/: when it fires, and when it does not.
"""

from dataclasses import dataclass
from typing import Literal

from monitoring import catalogue as m
from monitoring.objectives import OBJECTIVES, PAGE_BURNS, TICKET_BURNS
from monitoring.promql import grew, highest, increase, mean, quantile, rate, stuck

RECALL_AT_LEAST = 0.95
MODEL_OLD_AFTER_S = 90 * 86_400
SNAPSHOT_OLD_AFTER_S = 3_600
CANARY_SILENT_AFTER_S = 120
SHED_AT_MOST_PER_S = 0.1
CPU_AT_MOST = 0.95
FILES_AT_MOST = 0.8
LEAK_HORIZON_S = 4 * 3_600
ENCODER_FAILURES_AT_MOST = 0.05
#: Outcomes of an image that say something about us, not about the image.
OUR_FAILURES = 'outcome=~"internal|unavailable|overloaded|timeout|integrity"'
DEGRADED_AT_MOST = 0.05
LEFT_OUT_AT_MOST = 0.1
BLENDED_AT_MOST = 0.5
STALE_AFTER_S = 5
ENFORCED_WITHIN_S = 1.0
DECIDED_WITHIN_S = 1.0
NOT_SCORED_AT_MOST = 0.05
BROKEN_AT_MOST = 0.2
BROKEN_FEW = 10
#: As `models.drift.compare` has them.
PSI_AT_MOST = 0.25
KS_AT_MOST = 0.2
SHIFT_AT_MOST = 0.4
_DEGRADED, _BLENDED = 'degraded="yes"', 'scored_by="blend"'
_LEFT_OUT = 'outcome=~"late|failed|busy"'
_RECOMMENDER = 'system="recommendation"'
ENFORCED = 'effect="gone"'
_NOT_SCORED = 'outcome="failed"'
_REFUSED = 'outcome=~"refused|failed"'
_BROKEN = highest(m.EXPLORATION_PROMISES, where='state="broken"')
_KEPT = highest(m.EXPLORATION_PROMISES, where='state="kept"')
_APPLIED = 'outcome="applied"'
_DEAD_LETTER = 'outcome="dead_letter"'
_FEATURE = ("system", "feature")
_INPUT, _EMBEDDING, _SCORE = (f'kind="{kind}"' for kind in ("input", "embedding", "score"))


@dataclass(frozen=True)
class Alert:
    """One alert. `for_` is how long the condition has to hold; `runbook` is a page in `docs/runbooks/`."""

    name: str
    expr: str
    for_: str
    severity: Literal["page", "ticket"]
    summary: str
    runbook: str


def _burns() -> list[Alert]:
    found = []
    for objective in OBJECTIVES:
        who = "".join(f"{{{{ $labels.{label} }}}}: " for label in objective.by)
        allowed = f"the {objective.allowed * 100:g} % that may fail in a month"
        found += [
            Alert(
                f"{objective.alert}BurnsFast",
                objective.burning(PAGE_BURNS),
                "0m",
                "page",
                f"{who}{allowed} will be used up within days. {objective.promise}",
                objective.runbook,
            ),
            Alert(
                f"{objective.alert}BurnsSlowly",
                objective.burning(TICKET_BURNS),
                "0m",
                "ticket",
                f"{who}{allowed} will be used up before the month is over. {objective.promise}",
                objective.runbook,
            ),
        ]
    return found


ALERTS: tuple[Alert, ...] = (
    *_burns(),
    # Seen at all ------------------------------------------------------------------------------------------------
    Alert(
        "CanarySilent",
        f"time() - {m.CANARY_LAST_SUCCESS.name} > {CANARY_SILENT_AFTER_S}"
        f" or {rate(m.CANARY_RUNS, by=('system',))} > 0 unless on (system) {m.CANARY_LAST_SUCCESS.name}",
        "1m",
        "page",
        "{{ $labels.system }}: no canary came through for two minutes",
        "canary.md",
    ),
    Alert(
        "ProcessDown",
        "up == 0",
        "2m",
        "page",
        "{{ $labels.job }} at {{ $labels.instance }} does not answer Prometheus",
        "process-down.md",
    ),
    Alert(
        "KeepsRestarting",
        "changes(process_start_time_seconds[30m]) > 2",
        "0m",
        "ticket",
        "{{ $labels.job }} was started three times or more in half an hour",
        "process-down.md",
    ),
    # Nothing lost -----------------------------------------------------------------------------------------------
    Alert(
        "DeadLetters",
        grew(m.DEAD_LETTERS, by=("agent", "code")),
        "0m",
        "ticket",
        "{{ $labels.agent }} wrote dead letters: {{ $labels.code }}",
        "dead-letters.md",
    ),
    Alert(
        "DeadLettersMany",
        f"{rate(m.EVENTS, by=('agent',), where=_DEAD_LETTER)}"
        f" / {rate(m.EVENTS, by=('agent',))} > 0.1"
        f" and {increase(m.DEAD_LETTERS, by=('agent',))} > 20",
        "2m",
        "page",
        "{{ $labels.agent }}: more than a tenth of the events become dead letters",
        "dead-letters.md",
    ),
    Alert(
        "ConsumerStuck",
        stuck(m.CONSUMER_LAG, window="2m"),
        "2m",
        "page",
        "{{ $labels.agent }} is behind on {{ $labels.topic }} and not catching up",
        "consumer-stuck.md",
    ),
    Alert(
        "AgentWaits",
        f"{increase(m.RETRIES, by=('agent',), window='5m')} > 5",
        "5m",
        "ticket",
        "{{ $labels.agent }} tries again and again: something it depends on is down",
        "consumer-stuck.md",
    ),
    Alert(
        "OutboxStuck",
        stuck(m.OUTBOX_PENDING, window="5m"),
        "2m",
        "page",
        "accepted events wait in the outbox and do not reach the log",
        "outbox.md",
    ),
    # Right ------------------------------------------------------------------------------------------------------
    Alert(
        "RecallLow",
        f"{mean(m.LIVE_RECALL, by=('index',))} < {RECALL_AT_LEAST}",
        "10m",
        "ticket",
        f"live recall of the {{{{ $labels.index }}}} index is under {RECALL_AT_LEAST}",
        "recall.md",
    ),
    Alert(
        "IndexBehind",
        stuck(m.INDEX_LAG, window="2m"),
        "2m",
        "page",
        "the {{ $labels.index }} index does not follow its log: searches answer from an old state",
        "index.md",
    ),
    Alert(
        "IndexEntriesInvalid",
        grew(m.INDEX_ENTRIES, by=("index",), where='outcome="invalid"'),
        "0m",
        "ticket",
        "the log of the {{ $labels.index }} index holds entries that cannot be read",
        "index.md",
    ),
    Alert(
        "SnapshotOld",
        f"time() - {m.INDEX_SNAPSHOT_AGE.name} > {SNAPSHOT_OLD_AFTER_S}"
        f" and on (index) {increase(m.INDEX_ENTRIES, by=('index',), where=_APPLIED, window='1h')} > 0",
        "10m",
        "ticket",
        "the {{ $labels.index }} index changes and was not saved for an hour: a restart will take longer",
        "index.md",
    ),
    Alert(
        "ModelMismatch",
        grew(m.INDEX_ENTRIES, by=("index",), where='outcome="other_model"'),
        "5m",
        "ticket",
        "entries of another model arrive at the {{ $labels.index }} index and are not searchable",
        "model.md",
    ),
    Alert(
        "ModelOld",
        f"time() - {m.MODEL_CREATED.name} > {MODEL_OLD_AFTER_S}",
        "1h",
        "ticket",
        "model {{ $labels.version }} was trained more than 90 days ago",
        "model.md",
    ),
    Alert(
        "ModelRefused",  # tried every minute: one time that comes good ends before it counts
        grew(m.MODEL_LOADS, by=("system",), where=_REFUSED, window="3m"),
        "5m",
        "ticket",
        "{{ $labels.system }}: the version that is to be served cannot be loaded; the one before it answers",
        "recommendation.md",
    ),
    Alert(
        "FeaturesStale",
        stuck(m.FEATURES_PENDING, window="2m"),
        "5m",
        "ticket",
        "changed features do not reach the online store",
        "features.md",
    ),
    # Recommended ------------------------------------------------------------------------------------------------
    Alert(
        "RecommendationsDegraded",
        f"{rate(m.RECOMMENDATIONS, where=_DEGRADED)} / {rate(m.RECOMMENDATIONS)} > {DEGRADED_AT_MOST}",
        "10m",
        "ticket",
        "one homepage in twenty or more had to do without a generator or the ranker",
        "recommendation.md",
    ),
    Alert(
        "GeneratorLeftOut",
        f"{rate(m.RECOMMENDATION_GENERATORS, by=('generator',), where=_LEFT_OUT)}"
        f" / {rate(m.RECOMMENDATION_GENERATORS, by=('generator',))} > {LEFT_OUT_AT_MOST}",
        "10m",
        "ticket",
        "generator {{ $labels.generator }} is late, fails or hangs in one call of ten or more",
        "recommendation.md",
    ),
    Alert(
        "NoRecommendationModel",
        f"{rate(m.RECOMMENDATIONS, where=_BLENDED)} / {rate(m.RECOMMENDATIONS)} > {BLENDED_AT_MOST}",
        "30m",
        "ticket",
        "most homepages are scored without a trained model",
        "recommendation.md",
    ),
    Alert(
        "RecommendationsStale",
        f"{quantile(0.99, m.FRESHNESS, by=('effect',), where=_RECOMMENDER)} > {STALE_AFTER_S}",
        "5m",
        "ticket",
        "what people did reaches the recommender late: {{ $labels.effect }}",
        "recommendation.md",
    ),
    Alert(
        "PromisesBroken",
        f"{_BROKEN} / ({_BROKEN} + {_KEPT}) > {BROKEN_AT_MOST} and {_BROKEN} > {BROKEN_FEW}",
        "1h",
        "ticket",
        "more than a fifth of the new videos did not get the impressions they were promised",
        "recommendation.md",
    ),
    # Enforced ---------------------------------------------------------------------------------------------------
    Alert(
        "EnforcedLate",
        f"{quantile(0.99, m.VERDICT_SECONDS, where=ENFORCED, window='10m')} > {ENFORCED_WITHIN_S:g}",
        "5m",
        "ticket",
        "posts that are taken down stay in searches and recommendations for more than a second after the decision",
        "moderation.md",
    ),
    Alert(
        "DecisionsLate",
        f"{quantile(0.99, m.MODERATION_DECISION_SECONDS, window='10m')} > {DECIDED_WITHIN_S:g}",
        "10m",
        "ticket",
        "posts wait for more than a second to be decided, and are shown meanwhile",
        "moderation.md",
    ),
    Alert(
        "PostsNotScored",
        f"{rate(m.MODERATION_SCORED, where=_NOT_SCORED)} / {rate(m.MODERATION_SCORED)} > {NOT_SCORED_AT_MOST}"
        f" or {rate(m.MODERATION_UNANSWERED)} > 0",
        "5m",
        "ticket",
        "posts are not scored and wait for people instead",
        "moderation.md",
    ),
    Alert(
        "PolicyRefused",
        f"{increase(m.MODERATION_POLICY, where=_REFUSED)} > 0",
        "1m",
        "ticket",
        "the moderation policy's file is not valid; the one before it decides",
        "moderation.md",
    ),
    # Familiar ---------------------------------------------------------------------------------------------------
    Alert(
        "InputDrift",
        f"{highest(m.DRIFT_PSI, by=_FEATURE, where=_INPUT)} > {PSI_AT_MOST}",
        "15m",
        "ticket",
        "{{ $labels.system }}: {{ $labels.feature }} is distributed otherwise than what the model learned from",
        "drift.md",
    ),
    Alert(
        "EmbeddingDrift",
        f"{highest(m.DRIFT_PSI, by=_FEATURE, where=_EMBEDDING)} > {PSI_AT_MOST}"
        f" or {highest(m.DRIFT_SHIFT, by=_FEATURE)} > {SHIFT_AT_MOST}",
        "15m",
        "ticket",
        "{{ $labels.system }}: vectors of {{ $labels.feature }} lie elsewhere than those the model learned from",
        "drift.md",
    ),
    Alert(
        "ScoreDrift",
        f"{highest(m.DRIFT_PSI, by=_FEATURE, where=_SCORE)} > {PSI_AT_MOST}"
        f" or {highest(m.DRIFT_KS, by=_FEATURE, where=_SCORE)} > {KS_AT_MOST}",
        "15m",
        "ticket",
        "{{ $labels.system }}: scores of {{ $labels.feature }} are distributed otherwise than when it was trained",
        "drift.md",
    ),
    # Within its means -------------------------------------------------------------------------------------------
    Alert(
        "Shedding",
        f"{rate(m.REQUESTS_SHED, by=('route',))} > {SHED_AT_MOST_PER_S}",
        "5m",
        "ticket",
        "requests to {{ $labels.route }} are refused because too many wait",
        "saturation.md",
    ),
    Alert(
        "ProcessorFull",
        f"rate(process_cpu_seconds_total[5m]) > {CPU_AT_MOST}",
        "15m",
        "ticket",
        "{{ $labels.job }} uses a whole processor core and can do no more",
        "saturation.md",
    ),
    Alert(
        "FilesRunOut",
        f"process_open_fds / process_max_fds > {FILES_AT_MOST}",
        "5m",
        "ticket",
        "{{ $labels.job }} will soon be refused new files and connections",
        "saturation.md",
    ),
    Alert(
        "MemoryGrows",
        f"predict_linear(process_resident_memory_bytes[1h], {LEAK_HORIZON_S}) > 2 * process_resident_memory_bytes"
        " and process_resident_memory_bytes > 268435456",
        "30m",
        "ticket",
        "{{ $labels.job }} will need twice its memory within four hours",
        "memory.md",
    ),
    Alert(
        "EncoderFails",
        f"{rate(m.ENCODER_IMAGES, where=OUR_FAILURES)} / {rate(m.ENCODER_IMAGES)} > {ENCODER_FAILURES_AT_MOST}",
        "5m",
        "page",
        "the image encoder fails on one image in twenty or more, and not because of the images",
        "encoder.md",
    ),
)
