import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitoring import catalogue
from monitoring.catalogue import DEAD_LETTERS, FRESHNESS, INDEX_ITEMS, Counter, Gauge
from monitoring.recorder import Recorder


def test_what_is_recorded_is_what_is_exposed():
    recorder = Recorder()
    recorder.count(DEAD_LETTERS, agent="index-upload", code="media")
    recorder.count(DEAD_LETTERS, 2, agent="index-upload", code="media")
    recorder.set(INDEX_ITEMS, 7, index="visual", state="active")
    recorder.observe(FRESHNESS, 0.3, system="visual_search", effect="searchable")

    body, content_type = recorder.render()

    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
    assert content_type.startswith("text/plain")
    assert samples["riverlight_stream_dead_letters_total", (("agent", "index-upload"), ("code", "media"))] == 3
    assert samples["riverlight_index_items", (("index", "visual"), ("state", "active"))] == 7
    within = (
        "riverlight_freshness_seconds_bucket",
        (("effect", "searchable"), ("le", "0.3"), ("system", "visual_search")),
    )
    assert samples[within] == 1


def test_a_label_that_was_not_declared_is_refused():
    with pytest.raises(ValueError):
        Recorder().count(DEAD_LETTERS, agent="index-upload", user="u1")


def test_two_recorders_do_not_share_values():
    one, other = Recorder(), Recorder()
    one.count(DEAD_LETTERS, agent="a", code="c")
    assert other.value(DEAD_LETTERS, agent="a", code="c") == 0


def test_threads_may_be_the_first_to_record_a_metric_at_the_same_moment(monkeypatch: pytest.MonkeyPatch):
    make = prometheus_client.Counter

    def slowly(*given: Any, **named: Any) -> Any:
        time.sleep(0.05)
        return make(*given, **named)

    monkeypatch.setattr(prometheus_client, "Counter", slowly)
    recorder, together = Recorder(), threading.Barrier(4)

    def count(place: int) -> None:
        together.wait(10)
        recorder.count(DEAD_LETTERS, agent="archive", code=f"code-{place % 2}")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count, range(4)))
    assert [recorder.value(DEAD_LETTERS, agent="archive", code=f"code-{place}") for place in (0, 1)] == [2.0, 2.0]


def test_every_metric_follows_the_naming_rules():
    names = [metric.name for metric in catalogue.all_metrics()]
    assert len(names) == len(set(names))
    for metric in catalogue.all_metrics():
        assert metric.name.startswith("riverlight_"), metric.name
        assert metric.help.endswith("."), metric.name
        assert metric.owner, metric.name
        assert not {"user_id", "item_id", "post_id", "trace_id"} & set(metric.labels), metric.name
        if isinstance(metric, Counter):
            assert not metric.name.endswith("_total"), metric.name
        if isinstance(metric, Gauge | Counter):
            assert not metric.name.endswith("_bucket"), metric.name
