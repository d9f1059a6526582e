"""Every metric of the system, as data.

A metric is declared once, here, and recorded by passing its declaration to a `Recorder`. Names follow
`riverlight_<subsystem>_<what>_<unit>`; labels come from closed sets, never a user, item or trace id. The reference page
`docs/reference/metrics.md` is generated from this module.
"""

from dataclasses import dataclass

LATENCY_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.5, 5.0, 10.0)
FRESHNESS_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0)
BATCH_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class Counter:
    """A count that only grows. `name` carries no `_total`; the exposition adds it."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    owner: str = ""


@dataclass(frozen=True)
class Gauge:
    """A value that goes up and down."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    owner: str = ""


@dataclass(frozen=True)
class Histogram:
    """A distribution over fixed buckets (upper bounds, in the unit of the name)."""

    name: str
    help: str
    buckets: tuple[float, ...]
    labels: tuple[str, ...] = ()
    owner: str = ""


Metric = Counter | Gauge | Histogram

# Freshness: the promises -----------------------------------------------------------------------------------------

FRESHNESS = Histogram(
    "riverlight_freshness_seconds",
    "From an event happening to its effect being served, measured where the effect is applied. "
    "effect: searchable, gone, demoted, feature.",
    FRESHNESS_SECONDS,
    labels=("system", "effect"),
    owner="serving",
)
VERDICT_SECONDS = Histogram(
    "riverlight_moderation_verdict_seconds",
    "From a decision to its verdict being applied where answers are made. effect: gone, demoted, searchable.",
    FRESHNESS_SECONDS,
    labels=("effect",),
    owner="serving",
)
CANARY_FRESHNESS = Histogram(
    "riverlight_canary_freshness_seconds",
    "From sending a canary event to seeing its effect in an answer, through the public API. effect: searchable, gone.",
    FRESHNESS_SECONDS,
    labels=("system", "effect"),
    owner="monitoring",
)
CANARY_RUNS = Counter(
    "riverlight_canary_runs",
    "Canary runs by outcome: ok, late (not seen in time), error (a call failed).",
    labels=("system", "outcome"),
    owner="monitoring",
)
CANARY_LAST_SUCCESS = Gauge(
    "riverlight_canary_last_success_timestamp_seconds",
    "Unix time of the last canary that was seen in time.",
    labels=("system",),
    owner="monitoring",
)

# Streams -----------------------------------------------------------------------------------------------------------

EVENTS = Counter(
    "riverlight_stream_events",
    "Events by what became of them. outcome: applied, duplicate, dead_letter.",
    labels=("agent", "outcome"),
    owner="streams",
)
EVENT_LAG = Histogram(
    "riverlight_stream_event_lag_seconds",
    "From the event happening to its agent finishing with it.",
    FRESHNESS_SECONDS,
    labels=("agent",),
    owner="streams",
)
BATCH_EVENTS = Histogram(
    "riverlight_stream_batch_events", "Events in one batch.", BATCH_SIZES, labels=("agent",), owner="streams"
)
BATCH_SECONDS = Histogram(
    "riverlight_stream_batch_seconds",
    "Time one batch takes, retries included.",
    LATENCY_SECONDS,
    labels=("agent",),
    owner="streams",
)
RETRIES = Counter(
    "riverlight_stream_retries", "Repeated tries after a transient failure.", labels=("agent",), owner="streams"
)
DEAD_LETTERS = Counter(
    "riverlight_stream_dead_letters",
    "Dead letters written, by error code.",
    labels=("agent", "code"),
    owner="streams",
)
CONSUMER_LAG = Gauge(
    "riverlight_stream_consumer_lag_records",
    "Records between the committed offset and the end of the log.",
    labels=("agent", "topic"),
    owner="streams",
)
OUTBOX_PENDING = Gauge(
    "riverlight_stream_outbox_pending_records", "Records in the outbox that are not yet in the log.", owner="streams"
)
PRUNED = Counter(
    "riverlight_catalogue_pruned_rows",
    "Rows that daily housekeeping removed. table: inbox, traces.",
    labels=("table",),
    owner="streams",
)
INTERACTIONS = Counter(
    "riverlight_interactions",
    "Interactions counted, by kind and surface (surfaces outside the known set count as other).",
    labels=("kind", "surface"),
    owner="streams",
)

# Online metrics: what people do with the answers -----------------------------------------------------------------

ONLINE_CTR = Gauge(
    "riverlight_online_ctr_ratio",
    "Clicks per impression over a trailing window, by the surface where things were shown. window: day, week, month.",
    labels=("surface", "window"),
    owner="streams",
)
ONLINE_TIME_SPENT = Gauge(
    "riverlight_online_time_spent_seconds",
    "Time spent with what was shown, over a trailing window. window: day, week, month.",
    labels=("surface", "window"),
    owner="streams",
)
ONLINE_TIME_PER_IMPRESSION = Gauge(
    "riverlight_online_time_spent_per_impression_seconds",
    "Average time spent with one thing that was shown, over a trailing window. window: day, week, month.",
    labels=("surface", "window"),
    owner="streams",
)
FEATURES_PENDING = Gauge(
    "riverlight_features_pending_rows",
    "Items and users whose features have changed and are not in the online store yet.",
    owner="streams",
)

FEATURES_PUSH_SECONDS = Histogram(
    "riverlight_features_push_seconds",
    "Time of a push of changed features to the online store. After a long one the pusher rests three times as long.",
    FRESHNESS_SECONDS,
    owner="streams",
)

# Serving -----------------------------------------------------------------------------------------------------------

REQUEST_SECONDS = Histogram(
    "riverlight_http_request_seconds",
    "Time to answer a request, by route template and status.",
    LATENCY_SECONDS,
    labels=("route", "method", "status"),
    owner="serving",
)
REQUESTS_SHED = Counter(
    "riverlight_http_requests_shed", "Requests refused because a queue was full.", labels=("route",), owner="serving"
)
REQUESTS_RATE_LIMITED = Counter(
    "riverlight_http_requests_rate_limited",
    "Requests refused because their caller calls too often. kind: see settings `rates`.",
    labels=("kind",),
    owner="serving",
)
RATE_LIMIT_STORAGE_FAILURES = Counter(
    "riverlight_http_rate_limit_storage_failures",
    "Calls counted in the replica alone because the shared storage of rates did not answer.",
    owner="serving",
)
SEARCH_SECONDS = Histogram(
    "riverlight_search_stage_seconds",
    "Time of each stage of a search. stage: embed, search, rerank.",
    LATENCY_SECONDS,
    labels=("system", "stage"),
    owner="serving",
)
SEARCH_RESULTS = Histogram(
    "riverlight_search_results",
    "Results in one answer.",
    (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0),
    labels=("system",),
    owner="serving",
)
SEARCH_REMOVED = Counter(
    "riverlight_search_candidates_removed",
    "Candidates that re-ranking removed, by reason.",
    labels=("system", "reason"),
    owner="serving",
)
INDEX_ITEMS = Gauge(
    "riverlight_index_items",
    "Items in the live index. state: active, hidden; of restrictions: enforced, demoted.",
    labels=("index", "state"),
    owner="serving",
)
INDEX_BYTES = Gauge("riverlight_index_size_bytes", "Memory of the live index.", labels=("index",), owner="serving")
INDEX_LAG = Gauge(
    "riverlight_index_lag_records",
    "Index entries in the log that are not applied yet.",
    labels=("index",),
    owner="serving",
)
INDEX_ENTRIES = Counter(
    "riverlight_index_entries",
    "Index entries read, by what became of them. outcome: applied, stale, other_model, invalid.",
    labels=("index", "outcome"),
    owner="serving",
)
INDEX_SNAPSHOT_AGE = Gauge(
    "riverlight_index_snapshot_timestamp_seconds",
    "Unix time of the newest snapshot.",
    labels=("index",),
    owner="serving",
)
LIVE_RECALL = Histogram(
    "riverlight_index_live_recall_ratio",
    "recall@k of sampled live searches against an exact search of the same moment.",
    RATIOS,
    labels=("index",),
    owner="serving",
)
ENCODER_SECONDS = Histogram(
    "riverlight_encoder_seconds",
    "Time of each stage of embedding. stage: fetch, decode, forward.",
    LATENCY_SECONDS,
    labels=("stage",),
    owner="serving",
)
ENCODER_BATCH = Histogram(
    "riverlight_encoder_batch_images", "Images in one forward pass.", BATCH_SIZES, owner="serving"
)
ENCODER_IMAGES = Counter(
    "riverlight_encoder_images", "Images by outcome: ok, or the error code.", labels=("outcome",), owner="serving"
)
MODEL_CREATED = Gauge(
    "riverlight_model_created_timestamp_seconds",
    "Unix time at which the model that is served was trained. No value for a model whose training nobody recorded.",
    labels=("version",),
    owner="serving",
)
MODEL_LOADS = Counter(
    "riverlight_model_loads",
    "Looks at the model registry for the version to serve. outcome: loaded: it took over; refused: it cannot be "
    "served, tried again every minute; failed: a defect of ours; missing: none is registered under that name.",
    labels=("system", "outcome"),
    owner="serving",
)

# Recommendation ----------------------------------------------------------------------------------------------------

RECOMMENDATION_SECONDS = Histogram(
    "riverlight_recommendation_stage_seconds",
    "Time of each stage of a recommendation. stage: viewer, candidates, score, rerank; turn: the part of candidates "
    "that went by while other answers were computed.",
    LATENCY_SECONDS,
    labels=("stage",),
    owner="serving",
)
RECOMMENDATIONS = Counter(
    "riverlight_recommendation_answers",
    "Answers. viewer: known, new. scored_by: ranker, blend. degraded: yes when a generator or the ranker is missing.",
    labels=("viewer", "scored_by", "degraded"),
    owner="serving",
)
RECOMMENDATION_RESULTS = Histogram(
    "riverlight_recommendation_results",
    "Videos in one answer.",
    (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0),
    owner="serving",
)
RECOMMENDATION_GENERATORS = Counter(
    "riverlight_recommendation_generator_calls",
    "Calls of candidate generators. outcome: proposed, nothing; late, failed, busy (earlier calls hang): left out.",
    labels=("generator", "outcome"),
    owner="serving",
)
RECOMMENDATION_GENERATOR_SECONDS = Histogram(
    "riverlight_recommendation_generator_seconds",
    "Time a candidate generator takes, up to its deadline.",
    LATENCY_SECONDS,
    labels=("generator",),
    owner="serving",
)
RECOMMENDATION_RANKER = Counter(
    "riverlight_recommendation_ranker_calls",
    "Calls of the ranker. outcome: ranked; late, failed, busy, nothing (no numbers): generators were blended instead.",
    labels=("outcome",),
    owner="serving",
)
RECOMMENDATION_REMOVED = Counter(
    "riverlight_recommendation_candidates_removed",
    "Candidates that re-ranking left out, by reason.",
    labels=("reason",),
    owner="serving",
)
RECOMMENDATION_SHOWN = Counter(
    "riverlight_recommendation_videos",
    "Videos in answers. place: score, exploration, small-creator.",
    labels=("place",),
    owner="serving",
)
EXPLORATION_PROMISES = Gauge(
    "riverlight_recommendation_promises",
    "Promises of impressions to new videos. state: open, and of those that ended in the last 7 days kept, broken.",
    labels=("state",),
    owner="serving",
)

RECOMMENDATION_OUTCOMES = Counter(
    "riverlight_recommendation_outcomes",
    "What people did with recommended videos, by what scored the answer. "
    "outcome: impression, click, completed (nine tenths watched), like, dislike (or hidden, or reported).",
    labels=("version", "outcome"),
    owner="streams",
)
RECOMMENDATION_GENERATOR_OUTCOMES = Counter(
    "riverlight_recommendation_generator_outcomes",
    "The same by generator: each one that proposed the video counts it, so they do not add up.",
    labels=("generator", "outcome"),
    owner="streams",
)
RECOMMENDATION_WATCHED = Counter(
    "riverlight_recommendation_watched_seconds",
    "Time watched of recommended videos, by what scored the answer.",
    labels=("version",),
    owner="streams",
)
RECOMMENDATION_UNATTRIBUTED = Counter(
    "riverlight_recommendation_unknown_answers",
    "Trace ids named by interactions of which no answer is known.",
    owner="streams",
)

# Moderation --------------------------------------------------------------------------------------------------------

MODERATION_SECONDS = Histogram(
    "riverlight_moderation_stage_seconds",
    "Time of each stage of moderating a batch of posts. stage: text, media, model, challenger, explain (in the "
    "moderator); facts, score, decide, store (in the agent).",
    LATENCY_SECONDS,
    labels=("stage",),
    owner="serving",
)
MODERATION_TEXTS = Counter(
    "riverlight_moderation_texts",
    "Texts that the moderator needed vectors of. outcome: encoded, remembered.",
    labels=("outcome",),
    owner="serving",
)
MODERATION_SCORED = Counter(
    "riverlight_moderation_scored_posts",
    "Posts that were to be scored, by outcome: ok; partial: some of it could not be looked at; failed.",
    labels=("outcome",),
    owner="serving",
)
MODERATION_UNANSWERED = Counter(
    "riverlight_moderation_unanswered_posts",
    "Posts that the agent could not have scored in time: the moderator was away, full or slow.",
    owner="streams",
)
MODERATION_DECISIONS = Counter(
    "riverlight_moderation_decisions",
    "Decisions by what was decided, the class of harm that weighed most (`none` without one), and who decided: model, "
    "reviewer, appeal, sweep.",
    labels=("action", "harm", "actor"),
    owner="streams",
)
MODERATION_DECISION_SECONDS = Histogram(
    "riverlight_moderation_decision_seconds",
    "From a post being written to its first decision being stored.",
    FRESHNESS_SECONDS,
    labels=("action",),
    owner="streams",
)
MODERATION_RESCORED = Counter(
    "riverlight_moderation_rescored_posts",
    "Posts looked at again because of reactions. outcome: changed, same, failed.",
    labels=("outcome",),
    owner="streams",
)
MODERATION_WAITING = Gauge(
    "riverlight_moderation_rescore_waiting", "Posts whose reactions make them worth scoring again.", owner="streams"
)
MODERATION_SHADOW = Counter(
    "riverlight_moderation_shadow_posts",
    "Posts that a challenger scored beside the champion, by what the policy in force would have made of its scores. "
    "outcome: same; milder, stricter: another action.",
    labels=("outcome",),
    owner="streams",
)
MODERATION_CANDIDATES = Gauge(
    "riverlight_moderation_candidates",
    "Registered versions of the harm model that learned from labels, by what the gate made of them. outcome: promoted, "
    "challenger, held.",
    labels=("outcome",),
    owner="serving",
)
MODERATION_PREVALENCE = Gauge(
    "riverlight_moderation_prevalence_ratio",
    "Share of the impressions of the last 7 days that showed something harmful, from impressions drawn by chance. NaN: "
    "people have looked at too few of them. harm: any, or a class. bound: value; low, high (95 %).",
    labels=("harm", "bound"),
    owner="streams",
)
MODERATION_HARMFUL_IMPRESSIONS = Gauge(
    "riverlight_moderation_harmful_impressions",
    "Impressions of the posts that were taken down in the last 7 days, before they were. harm: any, or a class.",
    labels=("harm",),
    owner="streams",
)
MODERATION_VALID_APPEALS = Gauge(
    "riverlight_moderation_valid_appeals_ratio",
    "Share of the appeals decided in the last 7 days that were reversed. NaN: too few. bound: value; low, high (95 %).",
    labels=("bound",),
    owner="streams",
)
MODERATION_PROACTIVE = Gauge(
    "riverlight_moderation_proactive_ratio",
    "Share of the posts taken down in the last 7 days that nobody had reported before. NaN: too few. bound: value; "
    "low, high (95 %).",
    labels=("bound",),
    owner="streams",
)
MODERATION_REPORTS = Gauge(
    "riverlight_moderation_reports",
    "Reports of the last 7 days. harm: the class that the reporter named, or none.",
    labels=("harm",),
    owner="streams",
)
MODERATION_ACTION_SECONDS = Gauge(
    "riverlight_moderation_action_seconds",
    "How long it took in the last 7 days. NaN: too little happened. what: enforced (from a post to its being taken "
    "down), answered (from a post's first report to the next decision). quantile: p50, p95.",
    labels=("what", "quantile"),
    owner="streams",
)
MODERATION_SAMPLED = Gauge(
    "riverlight_moderation_sampled_posts",
    "Posts of impressions drawn by chance in the last 7 days. state: reviewed, waiting.",
    labels=("state",),
    owner="streams",
)
MODERATION_POLICY = Counter(
    "riverlight_moderation_policy_loads",
    "Looks at a changed policy file. outcome: loaded, refused (the one before stays in force).",
    labels=("outcome",),
    owner="streams",
)

# Drift -------------------------------------------------------------------------------------------------------------

DRIFT_PSI = Gauge(
    "riverlight_drift_psi_ratio",
    "Population stability index of the last hour against the reference, less what is expected by chance. NaN: too few "
    "rows. 0.1 is worth a look, 0.25 another distribution. kind: input, embedding (the highest of distance and "
    "directions), score.",
    labels=("system", "kind", "feature"),
    owner="serving",
)
DRIFT_KS = Gauge(
    "riverlight_drift_ks_ratio",
    "Kolmogorov-Smirnov distance of the known values, less what is expected by chance; of numbers and scores.",
    labels=("system", "kind", "feature"),
    owner="serving",
)
DRIFT_SHIFT = Gauge(
    "riverlight_drift_mean_shift_deviations",
    "How far the mean of vectors moved, in standard deviations of the reference's vectors, less what is chance.",
    labels=("system", "kind", "feature"),
    owner="serving",
)
DRIFT_MISSING = Gauge(
    "riverlight_drift_missing_ratio",
    "Share of the rows of the last hour in which a feature is not known.",
    labels=("system", "kind", "feature"),
    owner="serving",
)
DRIFT_FEATURES = Gauge(
    "riverlight_drift_features",
    "Watched features by verdict: same, watch, drift, too-few.",
    labels=("system", "verdict"),
    owner="serving",
)
DRIFT_ROWS = Gauge(
    "riverlight_drift_window_rows", "Rows of the last hour that are compared.", labels=("system",), owner="serving"
)
DRIFT_FIRST_ROWS = Gauge(
    "riverlight_drift_first_rows",
    "Rows kept so far to become the reference of what training gave none for. NaN: there is one.",
    labels=("system",),
    owner="serving",
)

# The process -------------------------------------------------------------------------------------------------------

BUILD_INFO = Gauge(
    "riverlight_build_info", "1, labelled with the code version.", labels=("version",), owner="monitoring"
)


def all_metrics() -> list[Metric]:
    """Return every declared metric, in the order of this file."""
    return [value for value in globals().values() if isinstance(value, Counter | Gauge | Histogram)]
