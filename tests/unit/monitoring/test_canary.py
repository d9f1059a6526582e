import threading

import httpx
import pytest

from core.settings import MonitoringSettings
from monitoring.canary import CATEGORY, Canary, CanaryLate, canary_image
from monitoring.catalogue import CANARY_FRESHNESS, CANARY_RUNS
from monitoring.recorder import Recorder


class SteppingClock:
    """Every look at the time moves it on by a tenth of a second."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self):
        raise AssertionError("durations are measured with the monotonic clock")

    def monotonic(self) -> float:
        self.seconds += 0.1
        return self.seconds


class Platform:
    """An API whose index shows an item after `polls_until_found` searches, and never lets it go if `sticky`."""

    def __init__(self, polls_until_found: int = 2, sticky: bool = False) -> None:
        self.polls_until_found = polls_until_found
        self.sticky = sticky
        self.events: list[dict] = []
        self.searches: list[dict] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        import json

        match request.url.path:
            case "/v1/media":
                return httpx.Response(200, json={"media_id": "0" * 64})
            case "/v1/events/uploads":
                self.events.append(json.loads(request.content))
                return httpx.Response(202, json={"accepted": ["x"], "rejected": []})
            case _:
                self.searches.append(json.loads(request.content))
                deleted = self.events[-1]["type"].endswith("deleted") and not self.sticky
                found = len(self.searches) > self.polls_until_found and not deleted
                item = {"item_id": self.events[0]["data"]["item_id"]}
                return httpx.Response(200, json={"results": [item] if found else []})


def canary(platform: Platform, recorder: Recorder, **settings: float) -> Canary:
    client = httpx.Client(base_url="http://platform", transport=httpx.MockTransport(platform))
    return Canary(client, MonitoringSettings(**settings), recorder, SteppingClock())


def test_a_canary_measures_found_and_gone_and_leaves_nothing_behind():
    platform, recorder = Platform(), Recorder()

    result = canary(platform, recorder).run_once(seed=7)

    assert result.searchable_s > result.gone_s > 0
    assert [event["type"].rpartition(".")[2] for event in platform.events] == ["created", "deleted"]
    assert platform.events[0]["data"]["category"] == CATEGORY
    assert platform.searches[0]["filters"] == {"category": CATEGORY}
    assert recorder.value(CANARY_FRESHNESS, system="visual_search", effect="searchable") == 1
    assert recorder.value(CANARY_FRESHNESS, system="visual_search", effect="gone") == 1


def test_a_canary_that_is_never_found_is_late_and_still_deleted():
    platform = Platform(polls_until_found=10_000)
    with pytest.raises(CanaryLate, match="searchable"):
        canary(platform, Recorder(), canary_timeout_s=1).run_once(seed=7)
    assert platform.events[-1]["type"] == "riverlight.upload.deleted"


def test_a_deleted_item_that_stays_in_answers_is_late():
    recorder = Recorder()
    with pytest.raises(CanaryLate, match="gone"):
        canary(Platform(sticky=True), recorder, canary_timeout_s=1).run_once(seed=7)
    assert recorder.value(CANARY_FRESHNESS, system="visual_search", effect="searchable") == 1
    assert recorder.value(CANARY_FRESHNESS, system="visual_search", effect="gone") == 0


def test_a_failing_api_is_counted_and_does_not_end_the_canary():
    recorder, stop, answers = Recorder(), threading.Event(), []

    def broken(_request: httpx.Request) -> httpx.Response:
        answers.append(1)
        if len(answers) == 3:
            stop.set()
        return httpx.Response(503)

    client = httpx.Client(base_url="http://platform", transport=httpx.MockTransport(broken))
    Canary(client, MonitoringSettings(canary_interval_s=0.001), recorder, SteppingClock()).run_forever(stop)
    assert recorder.value(CANARY_RUNS, system="visual_search", outcome="error") == 3


def test_canary_images_differ_by_seed_and_repeat_for_the_same():
    assert canary_image(1) == canary_image(1) != canary_image(2)
