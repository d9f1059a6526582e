"""Streams: dead letters, lag, retries, the outbox, and features that wait."""

from tests.unit.monitoring.alerts.case import Case

CASES: list[Case] = [
    Case(
        "DeadLetters",
        "the first of its kind: the series begins at 1",
        {'riverlight_stream_dead_letters_total{agent="index-upload",code="missing-media"}': "_x5 1x10"},
        "8m",
        ({"agent": "index-upload", "code": "missing-media"},),
    ),
    Case(
        "DeadLetters",
        "one more",
        {'riverlight_stream_dead_letters_total{agent="index-upload",code="missing-media"}': "3x20 4x5"},
        "23m",
        ({"agent": "index-upload", "code": "missing-media"},),
    ),
    Case(
        "DeadLetters",
        "only old ones",
        {'riverlight_stream_dead_letters_total{agent="index-upload",code="missing-media"}': "3x30"},
        "25m",
    ),
    Case(
        "DeadLettersMany",
        "half of the events for ten minutes",
        {
            'riverlight_stream_events_total{agent="interactions",outcome="applied"}': "0+50x20",
            'riverlight_stream_events_total{agent="interactions",outcome="dead_letter"}': "0+50x20",
            'riverlight_stream_dead_letters_total{agent="interactions",code="invalid-event"}': "0+50x20",
        },
        "15m",
        ({"agent": "interactions"},),
    ),
    Case(
        "DeadLettersMany",
        "one in a hundred",
        {
            'riverlight_stream_events_total{agent="interactions",outcome="applied"}': "0+990x20",
            'riverlight_stream_events_total{agent="interactions",outcome="dead_letter"}': "0+10x20",
            'riverlight_stream_dead_letters_total{agent="interactions",code="invalid-event"}': "0+10x20",
        },
        "15m",
    ),
    Case(
        "ConsumerStuck",
        "the lag grows",
        {'riverlight_stream_consumer_lag_records{agent="interactions",topic="t"}': "0 10+10x10"},
        "8m",
        ({"agent": "interactions", "topic": "t"},),
    ),
    Case(
        "ConsumerStuck",
        "a large lag that shrinks",
        {'riverlight_stream_consumer_lag_records{agent="interactions",topic="t"}': "9000-500x10"},
        "8m",
    ),
    Case(
        "ConsumerStuck",
        "a lag now and then",
        {'riverlight_stream_consumer_lag_records{agent="interactions",topic="t"}': "5 0 9 0 7 0 8 0 9 0"},
        "8m",
    ),
    Case(
        "AgentWaits",
        "a try every ten seconds for a quarter of an hour",
        {'riverlight_stream_retries_total{agent="index-upload"}': "0+6x20"},
        "15m",
        ({"agent": "index-upload"},),
    ),
    Case("AgentWaits", "one hiccup", {'riverlight_stream_retries_total{agent="index-upload"}': "0x5 3x15"}, "15m"),
    Case("OutboxStuck", "nothing leaves it", {"riverlight_stream_outbox_pending_records": "4x20"}, "12m", ({},)),
    Case("OutboxStuck", "it is being emptied", {"riverlight_stream_outbox_pending_records": "900-50x15"}, "12m"),
    Case("OutboxStuck", "it is empty", {"riverlight_stream_outbox_pending_records": "0x20"}, "12m"),
    Case("FeaturesStale", "rows wait", {"riverlight_features_pending_rows": "5+5x20"}, "12m", ({},)),
    Case("FeaturesStale", "rows come and go", {"riverlight_features_pending_rows": "9 0 8 0 7 0 9 0 8 0 9 0 9"}, "12m"),
]
