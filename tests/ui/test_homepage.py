"""The homepage as a person uses it: a real Chromium, the real gateway, a live state that follows what is sent."""

import pytest
from playwright.sync_api import expect

from tests.live_gateway import until
from tests.ui.conftest import RED, Visit

pytestmark = pytest.mark.integration


@pytest.fixture
def stocked(visit: Visit) -> Visit:
    gateway = visit.gateway
    media_id = gateway.http.post("/v1/media", files={"file": RED}).json()["media_id"]
    for n in range(6):
        fields = {"kind": "video", "media_id": media_id, "title": f"Video {n}", "category": "sea"}
        gateway.send("created", f"v{n}", owner_id=f"maker-{n}", **fields)
    until(lambda: gateway.deps.recommendation.follower.describe()["videos"] == 6, "six videos to recommend")
    return visit


def _interactions(visit: Visit) -> list[tuple[str, str, str]]:
    events = visit.gateway.published("content.interactions.v1")
    return [(event["type"].rpartition(".")[2], event["subject"], event["data"]["surface"]) for event in events]


def test_a_homepage_is_shown_counted_and_explained(stocked):
    page = stocked.open("/console/homepage")
    expect(page.locator("#index-state")).to_have_text("live")
    expect(page.locator("#videos")).to_have_text("6")
    shown = page.locator("#results .card").count()
    assert shown > 0
    [viewer] = {subject for _, subject, _ in _interactions(stocked)}
    assert _interactions(stocked) == [("impression", viewer, "homepage")] * shown

    page.locator("#results .card").first.get_by_role("button", name="Like").click()
    expect(page.locator("#message")).to_have_text("Counted. The next homepage knows.")
    assert _interactions(stocked)[shown:] == [("like", viewer, "homepage")]

    page.get_by_text("Why these?").click()
    expect(page.locator("#candidates tbody tr").first).to_contain_text("place 1")
    expect(page.locator("#candidates tbody tr").first).to_contain_text("Video")
    page.locator("#why-not-item").fill("v0")
    page.locator("#why-not").get_by_role("button", name="Ask").click()
    expect(page.locator("#why-not-answer")).to_contain_text("v0: ")
    assert stocked.complaints == []


def test_somebody_elses_homepage_is_looked_at_without_changing_it(stocked):
    page = stocked.open("/console/homepage")
    counted = len(_interactions(stocked))
    page.locator("#user").fill("somebody-else")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#answer-title")).to_contain_text("Homepage of somebody-else")
    expect(page.locator("#counts")).not_to_be_checked()
    page.wait_for_load_state("networkidle")
    assert len(_interactions(stocked)) == counted
    assert stocked.complaints == []
