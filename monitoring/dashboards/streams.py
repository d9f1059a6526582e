"""Streams: what agents do with events, how late they are, and what keeps them waiting."""

from monitoring import catalogue as m
from monitoring.dashboards.panels import Dashboard, Limit, Panel, Row
from monitoring.promql import highest, increase, mean, quantile, rate, summed

STREAMS = Dashboard(
    "riverlight-streams",
    "Riverlight / Streams",
    (
        Row(
            "Nothing lost, nothing applied twice",
            (
                Panel(
                    "What becomes of events?",
                    "Events a second by outcome. duplicate: known already and not applied again.",
                    "ops",
                    "dead-letters.md",
                    ((rate(m.EVENTS, by=("agent", "outcome")), "{{agent}} {{outcome}}"),),
                ),
                Panel(
                    "Which dead letters, and why?",
                    "Written in the last ten minutes, by error code.",
                    "short",
                    "dead-letters.md",
                    ((increase(m.DEAD_LETTERS, by=("agent", "code")), "{{agent}} {{code}}"),),
                    Limit(1),
                ),
                Panel(
                    "Do accepted events wait outside the log?",
                    "Rows in the outbox.",
                    "short",
                    "outbox.md",
                    ((highest(m.OUTBOX_PENDING), "waiting"),),
                    Limit(1),
                ),
            ),
        ),
        Row(
            "Agents keep up",
            (
                Panel(
                    "How far behind is each agent, by topic?",
                    "Records between the committed offset and the end of the log.",
                    "short",
                    "consumer-stuck.md",
                    ((summed(m.CONSUMER_LAG, by=("agent", "topic")), "{{agent}} {{topic}}"),),
                    Limit(10_000),
                ),
                Panel(
                    "How old is an event when its agent is done with it?",
                    "From the event happening. Events replayed, or sent late, are old when they come.",
                    "s",
                    "consumer-stuck.md",
                    (
                        (quantile(0.5, m.EVENT_LAG, by=("agent",)), "{{agent}} p50"),
                        (quantile(0.99, m.EVENT_LAG, by=("agent",)), "{{agent}} p99"),
                    ),
                    Limit(1.0),
                ),
                Panel(
                    "Does an agent wait for something that is down?",
                    "Repeated tries a second.",
                    "ops",
                    "consumer-stuck.md",
                    ((rate(m.RETRIES, by=("agent",)), "{{agent}}"),),
                    Limit(0.02),
                ),
            ),
        ),
        Row(
            "Batches",
            (
                Panel(
                    "How many events share a batch?",
                    "Mean. 1: there is little to do. The setting's limit: as much as comes.",
                    "short",
                    "consumer-stuck.md",
                    ((mean(m.BATCH_EVENTS, by=("agent",), window="5m"), "{{agent}}"),),
                ),
                Panel(
                    "How long does a batch take?",
                    "Retries included.",
                    "s",
                    "consumer-stuck.md",
                    (
                        (quantile(0.5, m.BATCH_SECONDS, by=("agent",)), "{{agent}} p50"),
                        (quantile(0.99, m.BATCH_SECONDS, by=("agent",)), "{{agent}} p99"),
                    ),
                    Limit(15.0),
                ),
            ),
        ),
        Row(
            "Features",
            (
                Panel(
                    "How long until a click counts?",
                    "From an interaction happening to its features being served.",
                    "s",
                    "features.md",
                    (
                        (quantile(0.5, m.FRESHNESS, by=("system",), where='effect="feature"'), "{{system}} p50"),
                        (quantile(0.99, m.FRESHNESS, by=("system",), where='effect="feature"'), "{{system}} p99"),
                    ),
                    Limit(5.0),
                ),
                Panel(
                    "Do changed features wait?",
                    "Items and users whose features changed and are not in the online store yet.",
                    "short",
                    "features.md",
                    ((highest(m.FEATURES_PENDING), "waiting"),),
                    Limit(10_000),
                ),
                Panel(
                    "How long does a push take?",
                    "A push of changed features to the online store. The pusher rests three times as long as it took.",
                    "s",
                    "features.md",
                    (
                        (quantile(0.5, m.FEATURES_PUSH_SECONDS), "p50"),
                        (quantile(0.99, m.FEATURES_PUSH_SECONDS), "p99"),
                    ),
                    Limit(5.0),
                ),
                Panel(
                    "What do people do?",
                    "Interactions counted a second, by kind.",
                    "ops",
                    "features.md",
                    ((rate(m.INTERACTIONS, by=("kind",)), "{{kind}}"),),
                ),
            ),
        ),
        Row(
            "Housekeeping",
            (
                Panel(
                    "Does the catalogue stay small?",
                    "Rows that daily housekeeping removed in a day.",
                    "short",
                    "process-down.md",
                    ((increase(m.PRUNED, by=("table",), window="1d"), "{{table}}"),),
                ),
            ),
        ),
    ),
)
