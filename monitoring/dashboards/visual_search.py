"""Visual search: where its time goes, whether it finds what is there, and what people make of it."""

from monitoring import catalogue as m
from monitoring.alerts import RECALL_AT_LEAST, SNAPSHOT_OLD_AFTER_S
from monitoring.dashboards.panels import Dashboard, Limit, Panel, Row
from monitoring.promql import highest, mean, quantile, rate

VISUAL_SEARCH = Dashboard(
    "riverlight-visual-search",
    "Riverlight / Visual search",
    (
        Row(
            "Fast",
            (
                Panel(
                    "Where does a search spend its time?",
                    "99 of 100, by stage: embed the query, search the index, re-rank.",
                    "s",
                    "latency.md",
                    ((quantile(0.99, m.SEARCH_SECONDS, by=("stage",)), "{{stage}} p99"),),
                    Limit(0.4),
                ),
                Panel(
                    "And usually?",
                    "Half of the searches, by stage.",
                    "s",
                    "latency.md",
                    ((quantile(0.5, m.SEARCH_SECONDS, by=("stage",)), "{{stage}} p50"),),
                    Limit(0.1),
                ),
                Panel(
                    "Where does the encoder spend its time?",
                    "99 of 100 images, by stage: fetch, decode, forward.",
                    "s",
                    "encoder.md",
                    ((quantile(0.99, m.ENCODER_SECONDS, by=("stage",)), "{{stage}} p99"),),
                    Limit(0.4),
                ),
            ),
        ),
        Row(
            "Right",
            (
                Panel(
                    "Is what is found what is there?",
                    "Live recall: the share of true neighbours that sampled searches found.",
                    "percentunit",
                    "recall.md",
                    ((mean(m.LIVE_RECALL, by=("index",)), "{{index}}"),),
                    Limit(RECALL_AT_LEAST, "below"),
                ),
                Panel(
                    "How many results does an answer have?",
                    "Mean. 0 is an answer; a fall to it is not.",
                    "short",
                    "recall.md",
                    ((mean(m.SEARCH_RESULTS, by=("system",), window="5m"), "{{system}}"),),
                    Limit(1, "below"),
                ),
                Panel(
                    "What does re-ranking take out?",
                    "Candidates a second, by reason.",
                    "ops",
                    "recall.md",
                    ((rate(m.SEARCH_REMOVED, by=("reason",)), "{{reason}}"),),
                ),
            ),
        ),
        Row(
            "The live index",
            (
                Panel(
                    "What is in the index?",
                    "Items by state.",
                    "short",
                    "index.md",
                    ((highest(m.INDEX_ITEMS, by=("index", "state")), "{{index}} {{state}}"),),
                ),
                Panel(
                    "How much memory does it take?",
                    "Bytes of vectors and structure.",
                    "bytes",
                    "memory.md",
                    ((highest(m.INDEX_BYTES, by=("index",)), "{{index}}"),),
                ),
                Panel(
                    "What becomes of index entries?",
                    "Read a second, by outcome.",
                    "ops",
                    "index.md",
                    ((rate(m.INDEX_ENTRIES, by=("index", "outcome")), "{{index}} {{outcome}}"),),
                ),
                Panel(
                    "Does it follow its log?",
                    "Entries not applied yet.",
                    "short",
                    "index.md",
                    ((highest(m.INDEX_LAG, by=("index",)), "{{index}}"),),
                    Limit(1_000),
                ),
                Panel(
                    "How old is its snapshot?",
                    "A restart reads the log from there. Without new entries none is written.",
                    "s",
                    "index.md",
                    ((f"time() - {highest(m.INDEX_SNAPSHOT_AGE, by=('index',))}", "{{index}}"),),
                    Limit(SNAPSHOT_OLD_AFTER_S),
                ),
            ),
        ),
        Row(
            "Used",
            (
                Panel(
                    "Do people click what they are shown?",
                    "Clicks per impression in the trailing day, by surface.",
                    "percentunit",
                    "recall.md",
                    ((highest(m.ONLINE_CTR, by=("surface",), where='window="day"'), "{{surface}}"),),
                ),
                Panel(
                    "How long do they stay with it?",
                    "Seconds per thing shown, in the trailing day, by surface.",
                    "s",
                    "recall.md",
                    ((highest(m.ONLINE_TIME_PER_IMPRESSION, by=("surface",), where='window="day"'), "{{surface}}"),),
                ),
                Panel(
                    "And in all?",
                    "Time spent in the trailing day, by surface.",
                    "s",
                    "recall.md",
                    ((highest(m.ONLINE_TIME_SPENT, by=("surface",), where='window="day"'), "{{surface}}"),),
                ),
                Panel(
                    "How does the canary fare?",
                    "Uploads of the canary until found, deletions until gone: 99 of 100.",
                    "s",
                    "canary.md",
                    ((quantile(0.99, m.CANARY_FRESHNESS, by=("effect",), window="10m"), "{{effect}}"),),
                    Limit(1.0),
                ),
            ),
        ),
    ),
)
