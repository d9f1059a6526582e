"""The console as a person uses it: a real Chromium, the real gateway, uploads that are really indexed."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from core.ids import media_id
from tests.live_gateway import until
from tests.ui.conftest import BLUE, BRICK, RED, WARM, Visit

pytestmark = pytest.mark.integration


def _interactions(visit: Visit, kind: str) -> list[dict]:
    events = visit.gateway.published("content.interactions.v1")
    return [event for event in events if event["type"] == f"riverlight.interaction.{kind}"]


def _file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.fixture
def stocked(visit: Visit) -> Visit:
    for item_id, image in (("red", RED), ("brick", BRICK), ("warm", WARM), ("blue", BLUE)):
        visit.gateway.upload(item_id, image, title=item_id.title())
    return visit


def test_an_empty_index_says_what_to_do(visit):
    page = visit.open()
    expect(page.get_by_text("Nothing is indexed yet.")).to_be_visible()
    expect(page.locator("#index-state")).to_have_text("live")
    expect(page.locator("#index-items")).to_have_text("0")
    assert visit.complaints == []


def test_a_click_on_an_image_shows_what_is_similar_best_first_and_not_what_is_not(stocked):
    page = stocked.open()
    expect(page.locator("#recent .card")).to_have_count(4)
    stocked.show("Red")
    names = page.locator("#results .name").all_text_contents()
    assert set(names) == {"Brick", "Warm"}
    scores = [float(text) for text in page.locator("#results .score").all_text_contents()]
    assert scores == sorted(scores, reverse=True)
    expect(page.locator("#results .card").first).to_have_attribute(
        "aria-label", f"{names[0]}, similarity {scores[0]:.3f}"
    )
    assert page.evaluate("[...document.images].filter(i => i.src && i.complete && !i.naturalWidth).length") == 0
    assert stocked.complaints == []


def test_every_answer_is_counted_once_with_positions_and_clicks_carry_the_same_trace(stocked):
    page = stocked.open()
    stocked.show("Red")
    page.locator("summary").click()  # looking closer is not a second answer
    until(lambda: len(_interactions(stocked, "impression")) == 2, "two impressions")
    shown = [event["data"] for event in _interactions(stocked, "impression")]
    assert [one["position"] for one in shown] == [0, 1]
    [trace_id] = {one["trace_id"] for one in shown}
    trace = stocked.gateway.http.get(f"/v1/traces/{trace_id}").json()
    answered = {
        one["position"]: one["item_id"] for one in trace["payload"]["candidates"] if one["position"] is not None
    }
    assert answered == {one["position"]: one["item_id"] for one in shown}

    page.locator("#results .card").nth(1).click()
    until(lambda: bool(_interactions(stocked, "click")), "a click")
    [click] = [event["data"] for event in _interactions(stocked, "click")]
    assert (click["item_id"], click["position"], click["trace_id"]) == (answered[1], 1, trace_id)
    assert {click["user_id"], click["surface"]} == {shown[0]["user_id"], "visual_search"}
    until(lambda: len(_interactions(stocked, "impression")) > 2, "the impressions of the second answer")
    assert trace_id not in {event["data"]["trace_id"] for event in _interactions(stocked, "impression")[2:]}


def test_the_page_says_why_a_result_is_there_and_why_an_item_is_not(stocked):
    page = stocked.open()
    stocked.show("Red")
    page.locator("summary").click()
    expect(page.locator("#why-summary")).to_contain_text("4 candidates, 2 shown")
    expect(page.locator("#why-summary")).to_contain_text("1 the query itself, 1 not similar enough")
    expect(page.locator("#candidates tr", has_text="Blue")).to_contain_text("not similar enough")
    expect(page.locator("#candidates tr", has_text="Brick")).to_contain_text("result")
    for item_id, answer in (("blue", "not similar enough"), ("nobody", "no item of this id is known")):
        page.fill("#why-not-item", item_id)
        page.press("#why-not-item", "Enter")
        expect(page.locator("#why-not-answer")).to_contain_text(f"{item_id}: ")
        expect(page.locator("#why-not-answer")).to_contain_text(answer)
    assert stocked.complaints == []


def test_a_chosen_file_is_searched_for_and_kept_only_when_it_is_added(stocked, tmp_path):
    page = stocked.open()
    new = BRICK + b"\n"  # other bytes, the same picture
    page.set_input_files("#file", _file(tmp_path, "sunset.png", new))
    expect(page.locator("#answer-title")).to_have_text("Similar to sunset.png")
    expect(page.locator("#results .name").first).to_have_text("Brick")
    assert stocked.gateway.http.get(f"/v1/media/{media_id(new)}").status_code == 404

    page.get_by_role("button", name="Add to index").click()
    expect(page.locator("#message")).to_contain_text("It could be found")
    expect(page.locator("#index-items")).to_have_text("5")
    expect(page.get_by_role("button", name="Add to index")).to_be_disabled()
    page.get_by_role("link", name="Recent uploads").click()
    expect(page.locator("#recent .name").first).to_have_text("sunset")
    assert stocked.complaints == []


def test_an_image_that_is_dropped_anywhere_is_searched_for(stocked):
    page = stocked.open()
    transfer = page.evaluate_handle(
        """(bytes) => { const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png", {type: "image/png"}));
        return transfer; }""",
        list(BLUE),
    )
    page.dispatch_event("#recent", "drop", {"dataTransfer": transfer})
    expect(page.locator("#answer-title")).to_have_text("Similar to dropped.png")
    expect(page.locator("#results .name")).to_have_text(["Blue"])
    assert stocked.complaints == []


def test_a_file_that_is_no_image_is_refused_in_words_and_cannot_be_added(stocked, tmp_path):
    page = stocked.open()
    page.set_input_files("#file", _file(tmp_path, "notes.png", b"not an image"))
    expect(page.locator("#message")).to_contain_text("not supported")
    expect(page.get_by_role("button", name="Add to index")).to_be_disabled()
    expect(page.locator("#recent")).to_be_visible()
    assert all("415" in complaint for complaint in stocked.complaints)  # the browser's own note of the refusal


def test_nothing_similar_is_said_to_be_an_answer(stocked):
    page = stocked.open()
    stocked.show("Blue")
    expect(page.get_by_text("Nothing is similar enough.")).to_be_visible()
    expect(page.locator("#results .card")).to_have_count(0)
    page.fill("#min-score", "0")
    page.press("#min-score", "Tab")
    expect(page.locator("#results .card")).to_have_count(3)


def test_a_hidden_image_is_in_no_answer_and_not_among_the_recent_ones(stocked):
    page = stocked.open()
    stocked.gateway.hide("warm")
    stocked.show("Red")
    expect(page.locator("#results .name")).to_have_text(["Brick"])
    page.get_by_role("link", name="Recent uploads").click()
    expect(page.locator("#recent .card")).to_have_count(3)
    assert "Warm" not in page.content()


def test_markup_in_titles_stays_text(visit, tmp_path):
    attack = "<img src=x onerror='window.hit=1'><script>window.hit=2</script>\"' onclick=window.hit=3"
    visit.gateway.upload("attack", RED, title=attack)
    visit.gateway.upload("other", BRICK, title="Other")
    page = visit.open()
    expect(page.locator("#recent .name").nth(1)).to_have_text(attack)
    visit.show("Other")
    expect(page.locator("#results .name")).to_have_text([attack])
    page.locator("summary").click()
    expect(page.locator("#candidates")).to_contain_text(attack)
    page.locator("#results .card").click()
    expect(page.locator("#answer-title")).to_have_text(f"Similar to {attack}")
    page.set_input_files("#file", _file(tmp_path, "<img src=x onerror=window.hit=4>.png".replace("/", ""), WARM))
    expect(page.locator("#answer-title")).to_contain_text("<img src=x")
    assert page.evaluate("window.hit") is None
    assert visit.complaints == []


def test_back_returns_to_the_answer_before_and_an_answer_can_be_linked_to(stocked):
    page = stocked.open()
    stocked.show("Red")
    stocked.show("Warm")
    page.go_back()
    expect(page.locator("#answer-title")).to_have_text("Similar to Red")
    linked = page.url
    page.go_back()
    expect(page.locator("#recent")).to_be_visible()
    stocked.page.goto("about:blank")
    page.goto(linked)
    expect(page.locator("#results .card")).to_have_count(2)
    assert stocked.complaints == []


def test_the_page_is_used_with_the_keyboard_alone(stocked):
    page = stocked.open()
    focused = "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(focused))
    assert reached.index("file") < reached.index("k") < reached.index("card")
    page.locator("#recent .card").last.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#answer-title")).to_be_focused()  # where what comes next is, for a screen reader as well
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#why-summary")).to_contain_text("candidates")


def test_a_gateway_that_is_gone_is_said_to_be_out_of_reach(stocked):
    page = stocked.open()
    page.context.set_offline(True)
    page.locator("#recent .card").first.click()
    expect(page.locator("#message")).to_have_text("The API does not answer. Is the system running?")
    expect(page.locator("#index-state")).to_have_text("out of reach", timeout=20_000)
    page.context.set_offline(False)
    expect(page.locator("#index-state")).to_have_text("live", timeout=20_000)
    page.locator("#recent .card").first.click()
    expect(page.locator("#answer")).to_be_visible()


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_a_small_screen(stocked, width):
    stocked.page.set_viewport_size({"width": width, "height": 800})
    page = stocked.open()
    stocked.show("Red")
    page.locator("summary").click()
    expect(page.locator("#candidates tbody tr")).to_have_count(4)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
