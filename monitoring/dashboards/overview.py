"""Platform overview: one row for each promise. Green above means nobody has to look further."""

from monitoring import catalogue as m
from monitoring.alerts import (
    CPU_AT_MOST,
    DECIDED_WITHIN_S,
    ENFORCED_WITHIN_S,
    FILES_AT_MOST,
    MODEL_OLD_AFTER_S,
    RECALL_AT_LEAST,
    SHED_AT_MOST_PER_S,
    STALE_AFTER_S,
)
from monitoring.dashboards.panels import Dashboard, Limit, Panel, Row
from monitoring.dashboards.recommendation import CLICKED, SHOWN
from monitoring.objectives import ANSWERED, CANARY_WITHIN_S, FAST, GONE, SEARCHABLE, Objective
from monitoring.others import MAX_FILES, OPEN_FILES, UP
from monitoring.promises import PROMISES
from monitoring.promql import highest, increase, quantile, rate, summed


def _allowance(objective: Objective, legend: str) -> Panel:
    """The share that broke a promise in the last hour, beside what may."""
    return Panel(
        "How much of what is allowed to fail did?",
        f"Share of bad cases over an hour and over a day. At the line, a month's allowance lasts a month. "
        f"{objective.promise}",
        "percentunit",
        objective.runbook,
        ((objective.recorded("1h"), f"{legend} 1 h"), (objective.recorded("1d"), f"{legend} 1 d")),
        Limit(objective.allowed),
    )


_ROWS: dict[str, tuple[Panel, ...]] = {
    "searchable": (
        Panel(
            "How long until an upload is found?",
            "99 of 100 canary uploads were found this soon after they were sent, through the public API.",
            "s",
            "freshness.md",
            (("riverlight:searchable_seconds:p99", "{{system}} canary p99"),),
            Limit(CANARY_WITHIN_S),
        ),
        Panel(
            "And every other event, until it is applied?",
            "From an event happening to its effect being served, for all uploads.",
            "s",
            "freshness.md",
            (
                (quantile(0.5, m.FRESHNESS, by=("system",), where='effect="searchable"'), "{{system}} p50"),
                (quantile(0.99, m.FRESHNESS, by=("system",), where='effect="searchable"'), "{{system}} p99"),
            ),
            Limit(CANARY_WITHIN_S),
        ),
        _allowance(SEARCHABLE, "{{system}}"),
        Panel(
            "Does the canary come through?",
            "Runs a second, by outcome. late: not seen in time. error: a call failed.",
            "ops",
            "canary.md",
            ((rate(m.CANARY_RUNS, by=("system", "outcome")), "{{system}} {{outcome}}"),),
        ),
    ),
    "gone": (
        Panel(
            "How long does something deleted stay visible?",
            "99 of 100 deleted canary images were out of all answers this soon.",
            "s",
            "freshness.md",
            (("riverlight:gone_seconds:p99", "{{system}} canary p99"),),
            Limit(CANARY_WITHIN_S),
        ),
        Panel(
            "And every other hiding or deletion?",
            "From an item being hidden or deleted to its leaving the index.",
            "s",
            "freshness.md",
            (
                (quantile(0.5, m.FRESHNESS, by=("system",), where='effect="gone"'), "{{system}} p50"),
                (quantile(0.99, m.FRESHNESS, by=("system",), where='effect="gone"'), "{{system}} p99"),
            ),
            Limit(CANARY_WITHIN_S),
        ),
        _allowance(GONE, "{{system}}"),
    ),
    "kept": (
        Panel(
            "What could not be handled?",
            "Dead letters of the last hour, by agent and error code. Nothing is lost; somebody has to look.",
            "short",
            "dead-letters.md",
            (("riverlight:dead_letters:increase1h", "{{agent}} {{code}}"),),
            Limit(1),
        ),
        Panel(
            "How far behind is each agent?",
            "Records between its committed offset and the end of the log.",
            "short",
            "consumer-stuck.md",
            (("riverlight:consumer_lag_records:sum", "{{agent}}"),),
            Limit(10_000),
        ),
        Panel(
            "Do accepted events wait outside the log?",
            "Rows in the outbox: accepted while the broker could not be reached.",
            "short",
            "outbox.md",
            (("riverlight:outbox_pending_records:max", "waiting"),),
            Limit(1),
        ),
    ),
    "answered": (
        Panel(
            "Which share of requests goes without an answer?",
            "Failures of ours and requests refused because of load, among all, over five minutes.",
            "percentunit",
            "errors.md",
            (("riverlight:http_errors:ratio5m", "failed or shed"),),
            Limit(ANSWERED.allowed),
        ),
        _allowance(ANSWERED, "all routes"),
        Panel(
            "Is every process there?",
            "1: it answers Prometheus.",
            "short",
            "process-down.md",
            ((f"min by (job) ({UP.name})", "{{job}}"),),
            Limit(1, "below"),
        ),
    ),
    "fast": (
        Panel(
            "How long do answers take?",
            "99 of 100 successful answers were there this soon, by route. The line is the search's.",
            "s",
            "latency.md",
            (("riverlight:http_request_seconds:p99", "{{route}}"),),
            Limit(0.4),
        ),
        _allowance(FAST, "{{route}}"),
        Panel(
            "How many requests are there?",
            "Answers a second, by route, whatever their status.",
            "reqps",
            "saturation.md",
            (("riverlight:http_requests:rate5m", "{{route}}"),),
        ),
    ),
    "right": (
        Panel(
            "Is what is found what is there?",
            "Live recall: the share of true neighbours that sampled searches found.",
            "percentunit",
            "recall.md",
            (("riverlight:live_recall_ratio:mean15m", "{{index}}"),),
            Limit(RECALL_AT_LEAST, "below"),
        ),
        Panel(
            "Does the index follow its log?",
            "Index entries in the log that are not applied yet.",
            "short",
            "index.md",
            (("riverlight:index_lag_records:max", "{{index}}"),),
            Limit(1_000),
        ),
        Panel(
            "What is in the index?",
            "Items by state.",
            "short",
            "index.md",
            ((highest(m.INDEX_ITEMS, by=("index", "state")), "{{index}} {{state}}"),),
        ),
    ),
    "recommended": (
        Panel(
            "Are homepages whole, and by a trained model?",
            "Answers a second, by what scored them and whether a part of the recommender was missing.",
            "reqps",
            "recommendation.md",
            (("riverlight:recommendations:rate5m", "{{scored_by}}, degraded: {{degraded}}"),),
        ),
        Panel(
            "How fast does what people do count?",
            "99 of 100 events, from happening to being known to the recommender.",
            "s",
            "recommendation.md",
            ((quantile(0.99, m.FRESHNESS, by=("effect",), where='system="recommendation"'), "{{effect}}"),),
            Limit(STALE_AFTER_S),
        ),
        Panel(
            "Do people like what they are shown?",
            "Clicks per impression, by what scored the answer.",
            "percentunit",
            "recommendation.md",
            (
                (
                    f"{rate(m.RECOMMENDATION_OUTCOMES, by=('version',), where=CLICKED, window='1h')}"
                    f" / {rate(m.RECOMMENDATION_OUTCOMES, by=('version',), where=SHOWN, window='1h')}",
                    "{{version}}",
                ),
            ),
        ),
    ),
    "moderated": (
        Panel(
            "How soon are posts decided?",
            "99 of 100 posts, from being written to their decision being stored.",
            "s",
            "moderation.md",
            (("riverlight:moderation_decision_seconds:p99", "decided"),),
            Limit(DECIDED_WITHIN_S),
        ),
        Panel(
            "Can posts be scored?",
            "Posts a second by what the moderator made of them, and those it did not answer in time. These wait for "
            "people.",
            "ops",
            "moderation.md",
            (
                (rate(m.MODERATION_SCORED, by=("outcome",)), "{{outcome}}"),
                (rate(m.MODERATION_UNANSWERED), "no answer in time"),
            ),
        ),
        Panel(
            "Is the policy in force the one in the file?",
            "Changed policy files of the last ten minutes that were taken, and refused.",
            "short",
            "moderation.md",
            ((increase(m.MODERATION_POLICY, by=("outcome",)), "{{outcome}}"),),
        ),
    ),
    "enforced": (
        Panel(
            "How long does what is taken down stay visible?",
            "99 of 100 enforced posts were out of searches and recommendations this soon after the decision.",
            "s",
            "moderation.md",
            (("riverlight:enforced_seconds:p99", "enforced"),),
            Limit(ENFORCED_WITHIN_S),
        ),
        Panel(
            "And what is demoted, or given back?",
            "99 of 100 verdicts: from the decision to its being applied; and from its cause, the post or a report.",
            "s",
            "moderation.md",
            (
                (quantile(0.99, m.VERDICT_SECONDS, by=("effect",), window="10m"), "{{effect}}"),
                (
                    quantile(0.99, m.FRESHNESS, by=("effect",), where='system="moderation"', window="10m"),
                    "{{effect}}, from its cause",
                ),
            ),
            Limit(ENFORCED_WITHIN_S),
        ),
        Panel(
            "How much is taken down and lowered?",
            "Items that verdicts restrict now.",
            "short",
            "moderation.md",
            ((highest(m.INDEX_ITEMS, by=("state",), where='index="restrictions"'), "{{state}}"),),
        ),
        Panel(
            "How much of what was found did verdicts keep out?",
            "Candidates a second that searches and homepages left out because a post that shows them was taken down.",
            "ops",
            "moderation.md",
            (
                (rate(m.SEARCH_REMOVED, by=("system",), where='reason="enforced"'), "{{system}}"),
                (rate(m.RECOMMENDATION_REMOVED, where='reason="enforced"'), "recommendation"),
            ),
        ),
    ),
    "current": (
        Panel(
            "How old is the model?",
            "Since the served model was trained.",
            "s",
            "model.md",
            (("riverlight:model_age_seconds", "{{version}}"),),
            Limit(MODEL_OLD_AFTER_S),
        ),
        Panel(
            "How long until a click counts?",
            "From an interaction happening to its features being served, 99 of 100.",
            "s",
            "features.md",
            (("riverlight:feature_seconds:p99", "{{system}}"),),
            Limit(5.0),
        ),
        Panel(
            "Do changed features wait?",
            "Items and users whose features changed and are not in the online store yet.",
            "short",
            "features.md",
            (("riverlight:features_pending_rows:max", "waiting"),),
            Limit(10_000),
        ),
        Panel(
            "Does another model's work arrive?",
            "Index entries of another model in the last ten minutes: not searchable.",
            "short",
            "model.md",
            ((increase(m.INDEX_ENTRIES, by=("index",), where='outcome="other_model"'), "{{index}}"),),
            Limit(1),
        ),
    ),
    "means": (
        Panel(
            "How much memory does each process hold?",
            "Resident memory. Steadily upward at constant load is a leak.",
            "bytes",
            "memory.md",
            (("riverlight:memory_bytes:sum", "{{job}}"),),
        ),
        Panel(
            "Is a processor core full?",
            "Cores used. Most processes of ours can use one.",
            "short",
            "saturation.md",
            (("riverlight:cpu_cores:rate5m", "{{job}}"),),
            Limit(CPU_AT_MOST),
        ),
        Panel(
            "Are requests refused?",
            "Refused a second, because as many as allowed were waiting.",
            "reqps",
            "saturation.md",
            (("riverlight:http_requests_shed:rate5m", "{{route}}"),),
            Limit(SHED_AT_MOST_PER_S),
        ),
        Panel(
            "Are there files and connections left?",
            "Open ones among those allowed.",
            "percentunit",
            "saturation.md",
            ((f"{summed(OPEN_FILES, by=('job',))} / {summed(MAX_FILES, by=('job',))}", "{{job}}"),),
            Limit(FILES_AT_MOST),
        ),
    ),
}

OVERVIEW = Dashboard(
    "riverlight-overview",
    "Riverlight / Platform overview",
    tuple(Row(promise.title, _ROWS[promise.name]) for promise in PROMISES),
)
