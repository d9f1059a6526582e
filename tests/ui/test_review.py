"""The review console as a reviewer uses it: a real Chromium, the real gateway, posts and jobs in the real store."""

import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.access.roles import Role
from core.access.tokens import TokenVerifier
from core.clock import SystemClock
from core.moderation import MediaEvidence, Reason, TextEvidence
from core.settings import ModerationSettings
from serving.access import Door
from storage.moderation import ReactionDelta, Report
from tests.live_gateway import LiveGateway, live_gateway
from tests.ui.conftest import RED, Visit
from tests.unit.core.access.token_factory import TokenFactory
from tests.unit.serving.gateway.decided_posts import DecidedPosts

pytestmark = pytest.mark.integration

QUEUE = "/console/review"
TEXT = "Look at these people, they should all be driven out of town.\nShare this before it is deleted!"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[LiveGateway]:
    with live_gateway(tmp_path, moderation=ModerationSettings(wellness_after_jobs=3)) as running:
        yield running


@pytest.fixture
def posts(gateway: LiveGateway) -> DecidedPosts:
    return DecidedPosts(gateway.deps)


@pytest.fixture
def shot(visit: Visit, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keep a picture of the page where RIVERLIGHT_SCREENSHOTS names a folder, to be looked at by a person."""

    def take(name: str) -> None:
        if folder := os.environ.get("RIVERLIGHT_SCREENSHOTS"):
            visit.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    return take


def media(visit: Visit, image: bytes = RED) -> str:
    return str(visit.gateway.http.post("/v1/media", files={"file": image}).json()["media_id"])


def a_rich_job(visit: Visit, posts: DecidedPosts) -> str:
    """Put a job with something of everything; return its id."""
    now, picture = datetime.now(UTC), media(visit)
    posts.put("an-earlier-post", text="An earlier post.", author_id="mallory", age=timedelta(days=3))
    posts.put("hateful", "allow", author_id="mallory", age=timedelta(hours=2), text=TEXT, media_ids=(picture,))
    posts.store.add_reports([Report("hateful", "rita", "hate", now - timedelta(minutes=20), note="This is about us.")])
    posts.store.add_reactions("test", [ReactionDelta("e", "hateful", impressions=1204, likes=3, shares=17)])
    posts.store.add_reactions("test", [ReactionDelta("c", "hateful", comments=1, comment="Shame on you.", at=now)])
    start = TEXT.index("driven out")
    job = posts.queue(
        "hateful",
        812.4,
        action="demote",
        author_id="mallory",
        reason="hate is between the thresholds",
        text=TEXT,
        media_ids=(picture,),
        scores={"violence": 0.31, "nudity": 0.02, "hate": 0.88, "self_harm": None, "spam": 0.12},
        shares={"hate": {"text": 2.4, "author": 0.4, "image": -0.1}, "violence": {"text": 0.9}},
        signals={"nsfw": 0.03, "obfuscation": 0.12, "profane_rate": 0.0, "words": 18.0},
        evidence=[
            TextEvidence(harm="hate", start=start, end=start + 18, quote=TEXT[start : start + 18], weight=0.41),
            MediaEvidence(harm="hate", media_id=picture, weight=0.2, region=(0.5, 0.0, 0.5, 0.5)),
        ],
        missing=["author: no profile"],
        reasons=[Reason(rule="hate.demote", action="demote", harm="hate", value=0.88, threshold=0.75)],
    )
    return job.job_id


def fill_queue(posts: DecidedPosts) -> None:
    for number, (harm, kind, reason) in enumerate(
        [
            ("spam", "decision", "spam is between the thresholds"),
            ("violence", "decision", "reports of 3 people"),
            ("hate", "reopened", "the machine found more than before"),
            (None, "sample", "drawn to measure prevalence"),
        ]
    ):
        posts.queue(f"other-{number}", 40.0 - 9.7 * number, harm=harm, kind=kind, reason=reason)
    appealed = posts.put("appealed", "enforce", author_id="ada", age=timedelta(hours=5))
    posts.store.open_appeal(appealed.decision_id, "ada", "It was a quote from a film.", priority=12.0)


def as_vera(page: Page) -> None:
    """Say who reviews, where access is open."""
    page.get_by_label("You review as").fill("vera")
    page.keyboard.press("Tab")
    page.locator("h2").first.click()


def decide(page: Page, key: str, reason: str) -> None:
    page.keyboard.press(key)
    expect(page.locator("#reason")).to_be_focused()
    page.keyboard.type(reason)
    page.keyboard.press("Control+Enter")


def test_a_reviewer_works_the_queue_with_the_keyboard_alone(visit, posts, shot):
    fill_queue(posts)
    job_id = a_rich_job(visit, posts)
    page = visit.open(QUEUE)
    expect(page.locator("#waiting")).to_have_text("6")
    as_vera(page)
    rows = page.locator(".queue tbody tr")
    expect(rows).to_have_count(6)
    expect(rows.first).to_contain_text("812")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(rows.first).to_have_class(re.compile("selected"))
    expect(rows.first.locator("a")).to_be_focused()
    shot("1-queue")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{QUEUE}/{job_id}")
    expect(page.locator("#lease")).to_contain_text("Yours for 15 min")
    assert posts.store.job(job_id).held_by(datetime.now(UTC)) == "vera"
    page.wait_for_load_state("networkidle")
    shot("2-job-blurred")
    page.keyboard.press("u")
    expect(page.locator(".medium")).to_have_attribute("aria-pressed", "true")
    page.wait_for_load_state("networkidle")
    shot("3-job-clear")
    page.keyboard.press("u")
    expect(page.locator(".medium")).to_have_attribute("aria-pressed", "false")

    decide(page, "3", "It calls for driving people out. Not a quote.")
    page.wait_for_url(lambda url: job_id not in url)
    expect(page.locator("#message")).to_have_text("Decided: enforce, hate.")
    expect(page.locator("#lease")).to_contain_text("Yours")
    shot("4-decided-and-next")
    made = posts.store.in_force(["hateful"])["hateful"]
    assert (made.action, made.harm, made.actor_id) == ("enforce", "hate", "vera")
    assert made.note == "It calls for driving people out. Not a quote."
    assert visit.complaints == []


def test_a_picture_is_blurred_by_the_gateway_until_it_is_asked_for_and_again_on_the_next_visit(visit, posts):
    job_id = a_rich_job(visit, posts)
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    page = visit.open(f"{QUEUE}/{job_id}")
    medium = page.locator(".medium")
    filtering = "getComputedStyle(document.querySelector('.medium img')).filter"
    assert "grayscale(1) blur" in page.evaluate(filtering)
    assert [url for url in asked if "clear" in url] == []
    medium.click()
    expect(medium).to_have_attribute("aria-pressed", "true")
    assert page.evaluate(filtering) == "none"
    assert len([url for url in asked if "clear=true" in url]) == 1
    page.reload()
    expect(page.locator(".medium")).to_have_attribute("aria-pressed", "false")
    assert page.locator(".medium rect:not(.halo)").count() == 1
    assert visit.complaints == []


def test_everything_that_a_reviewer_needs_is_on_the_page(visit, posts):
    job_id = a_rich_job(visit, posts)
    page = visit.open(f"{QUEUE}/{job_id}")
    expect(page.locator("#text")).to_have_text(TEXT)
    expect(page.locator("#text mark")).to_have_text("driven out of town")
    expect(page.locator(".scores tbody tr").nth(2)).to_contain_text("0.880")
    expect(page.locator(".scores tbody tr").nth(2)).to_contain_text("text +2.4")
    expect(page.locator(".scores tbody tr").nth(3)).to_contain_text("unknown")
    bar = page.locator(".scores tbody tr").nth(2).locator("svg")
    expect(bar).to_have_attribute("aria-label", "hate: 0.880; review from 0.5, demote from 0.75, enforce from 0.9")
    assert [float(one.get_attribute("x1")) for one in bar.locator("line:not(.halo)").all()] == [50.0, 75.0, 90.0]
    assert float(bar.locator("rect.value").get_attribute("width")) == 88.0
    for words in (
        "The machine could not look at author: no profile",
        "This is about us.",
        "1,204 impressions",
        "attack people for what they are or believe",
        "hate.demote",
        "obfuscation",
        "an-earlier-post",
    ):
        expect(page.locator("main")).to_contain_text(words)
    page.get_by_text("What the author is told now").click()
    expect(page.locator(".notice")).to_contain_text("Your post is shown to fewer people")
    assert "rita" not in page.content()  # who reports is not shown
    page.get_by_text("The newest comments").click()
    expect(page.get_by_text("Shame on you.")).to_be_visible()


def test_an_appeal_is_shown_with_what_the_author_says(visit, posts):
    fill_queue(posts)
    page = visit.open(f"{QUEUE}?kind=appeal")
    as_vera(page)
    expect(page.locator(".queue tbody tr")).to_have_count(1)
    page.locator(".queue a").click()
    expect(page.locator(".appeal")).to_contain_text("It was a quote from a film.")
    page.wait_for_load_state()  # words are there before the scripts that listen to keys
    page.keyboard.press("l")
    expect(page.locator("#lease")).to_contain_text("Yours")
    decide(page, "1", "A quote indeed.")
    page.wait_for_url("**/console/review?kind=appeal")  # the filter goes along
    expect(page.locator("#message")).to_have_text("Decided: allow. Nothing else waits for you.")
    assert posts.store.in_force(["appealed"])["appealed"].actor == "appeal"


def test_what_is_missing_is_asked_for_in_place(visit, posts, shot):
    job = posts.queue(action="review", harm=None, scores={}, reasons=[])
    page = visit.open(f"{QUEUE}/{job.job_id}")
    expect(page.locator("#take")).to_be_visible()
    page.keyboard.press("l")
    expect(page.locator("#problem")).to_contain_text("Say first who reviews")
    expect(page.locator("#reviewer")).to_be_focused()
    as_vera(page)
    page.keyboard.press("l")
    expect(page.locator("#lease")).to_contain_text("Yours")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#problem")).to_contain_text("Choose what to do")
    page.keyboard.press("2")
    expect(page.locator("#harm")).to_be_focused()  # nobody has said which yet
    page.keyboard.press("Control+Enter")
    expect(page.locator("#problem")).to_contain_text("which harm")
    expect(page.locator("#harm")).to_have_attribute("aria-invalid", "true")
    page.locator("#harm").select_option("spam")
    expect(page.locator(".policy details[open]")).to_contain_text("unwanted advertising")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#problem")).to_contain_text("a decision needs a reason")
    expect(page.locator("#reason")).to_be_focused()
    shot("5-what-is-missing")
    page.keyboard.type("1 2 3 jk: keys are text here")
    page.keyboard.press("Control+Enter")
    page.wait_for_url(f"**{QUEUE}")
    made = posts.store.in_force(["post-1"])["post-1"]
    assert (made.action, made.harm, made.note) == ("demote", "spam", "1 2 3 jk: keys are text here")


def test_a_job_that_somebody_else_took_says_so_and_offers_the_next(visit, posts):
    job, other = posts.queue("post-1", 5.0), posts.queue("post-2", 1.0)
    page = visit.open(QUEUE)
    as_vera(page)
    posts.store.lease("ben", job.job_id)
    page.keyboard.press("j")
    page.keyboard.press("l")
    expect(page.locator("#message")).to_contain_text("with another reviewer until")
    expect(page.locator(".queue tbody tr").first).to_have_class(re.compile("gone"))
    page.goto(f"{visit.gateway.url}{QUEUE}/{job.job_id}")
    expect(page.locator("#lease")).to_have_text("With ben for 15 min")
    expect(page.locator("#take")).to_be_hidden()
    expect(page.locator("#reason")).to_be_disabled()
    page.keyboard.press("n")
    page.wait_for_url(f"**{other.job_id}")


def test_a_post_that_changed_is_looked_at_again_before_it_is_decided(visit, posts, shot):
    job = posts.queue(text="the first words")
    page = visit.open(f"{QUEUE}/{job.job_id}")
    as_vera(page)
    page.keyboard.press("l")
    expect(page.locator("#lease")).to_contain_text("Yours")
    posts.queue(text="other words")
    decide(page, "3", "The first words are bad.")
    expect(page.locator("#problem")).to_contain_text("The post has changed")
    expect(page.locator("#reason")).to_have_value("The first words are bad.")
    shot("6-the-post-changed")
    page.get_by_role("button", name="Show it as it is now").click()
    expect(page.locator("#text")).to_have_text("other words")
    expect(page.locator("#lease")).to_contain_text("Yours")
    decide(page, "1", "These are not.")
    page.wait_for_url(f"**{QUEUE}")
    assert posts.store.in_force(["post-1"])["post-1"].action == "allow"


def test_what_was_written_survives_a_lease_that_ran_out_and_a_gateway_that_was_away(visit, posts):
    job = posts.queue()
    page = visit.open(f"{QUEUE}/{job.job_id}")
    as_vera(page)
    page.keyboard.press("l")
    expect(page.locator("#lease")).to_contain_text("Yours")
    posts.store.release(job.job_id, "vera")  # as if the time were over
    decide(page, "3", "Well thought through.")
    expect(page.locator("#problem")).to_contain_text("Your time with this job is over")
    page.get_by_role("button", name="Take it again").click()
    expect(page.locator("#reason")).to_have_value("Well thought through.")
    page.context.set_offline(True)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#problem")).to_contain_text("The API does not answer")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    page.wait_for_url(f"**{QUEUE}")
    assert posts.store.in_force(["post-1"])["post-1"].note == "Well thought through."


def test_after_some_jobs_in_a_row_a_break_is_offered(visit, posts, shot):
    for number in range(4):
        posts.queue(f"post-{number}", float(number))
    page = visit.open(QUEUE)
    as_vera(page)
    page.keyboard.press("n")
    for _ in range(3):
        expect(page.locator("#lease")).to_contain_text("Yours")
        before = page.url
        decide(page, "1", "Harmless.")
        if _ < 2:
            page.wait_for_url(lambda url, before=before: url != before)
    expect(page.locator("#break")).to_contain_text("You have decided 3 posts in a row")
    expect(page.locator(".job")).to_be_hidden()
    shot("7-a-break")
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url(lambda url: url != before)
    expect(page.locator("#break")).to_be_hidden()
    expect(page.locator("#lease")).to_contain_text("Yours")


def test_a_job_is_put_back_from_its_page_and_from_the_queue(visit, posts):
    job = posts.queue()
    page = visit.open(f"{QUEUE}/{job.job_id}")
    as_vera(page)
    page.keyboard.press("l")
    expect(page.locator("#lease")).to_contain_text("Yours")
    page.keyboard.press("q")
    page.wait_for_url(f"**{QUEUE}")
    expect(page.locator("#held-title")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("r")
    expect(page.locator("#message")).to_have_text("Put back into the queue.")
    expect(page.locator("#held-title")).to_have_count(0)
    assert posts.store.job(job.job_id).state == "open"
    page.keyboard.press("n")
    page.wait_for_url(f"**{job.job_id}")
    expect(page.locator("#lease")).to_contain_text("Yours")
    page.keyboard.press("r")
    page.wait_for_url(f"**{QUEUE}")
    assert posts.store.job(job.job_id).state == "open"


def test_single_keys_can_be_turned_off(visit, posts):
    posts.queue()
    page = visit.open(QUEUE)
    as_vera(page)
    page.get_by_label("Single keys work").uncheck()
    page.keyboard.press("n")
    page.reload()
    expect(page.get_by_label("Single keys work")).not_to_be_checked()
    expect(page.locator(".queue tbody tr")).to_have_count(1)


def test_markup_of_authors_reporters_and_reviewers_stays_text(visit, posts):
    attack = "<img src=x onerror='window.hit=1'><script>window.hit=2</script>\"' onclick=window.hit=3 {{ 7*7 }}"
    evidence = [TextEvidence(harm="hate", start=0, end=9, quote=attack[:9], weight=0.4)]
    job = posts.queue(text=attack, evidence=evidence, missing=[attack], reason=attack)
    posts.store.add_reports([Report("post-1", "r", "hate", datetime.now(UTC), note=attack)])
    page = visit.open(f"{QUEUE}/{job.job_id}")
    expect(page.locator("#text")).to_have_text(attack)
    page.get_by_label("You review as").fill(attack)
    page.keyboard.press("Tab")
    page.locator("h2").first.click()
    page.keyboard.press("l")
    expect(page.locator("#lease")).to_contain_text("Yours")
    page.goto(visit.gateway.url + QUEUE)
    expect(page.locator(".holder")).to_have_text(attack)
    assert page.evaluate("window.hit") is None
    assert visit.complaints == []


def test_without_pictures_the_page_still_works(visit, posts):
    gone = posts.queue("gone", media_ids=("ab" * 32,))
    page = visit.open(f"{QUEUE}/{gone.job_id}")
    expect(page.locator(".medium")).to_have_class(re.compile("lost"))
    expect(page.locator(".medium")).to_contain_text("cannot be shown")
    visit.complaints.clear()  # the browser tells of the 404


def test_a_job_that_is_not_there_is_said_so(visit):
    page = visit.open(f"{QUEUE}/nothing")
    expect(page.locator("main")).to_contain_text("There is no review job 'nothing'")
    page.get_by_role("link", name="To the queue").click()
    expect(page.locator("main")).to_contain_text("Nothing waits.")


def test_a_closed_job_shows_what_became_of_it(visit, posts):
    job = posts.queue()
    posts.store.lease("ben", job.job_id)
    posts.store.decide(job.job_id, "ben", "enforce", "hate", "a slur")
    page = visit.open(f"{QUEUE}/{job.job_id}")
    expect(page.locator(".closed")).to_contain_text("enforce, hate: a slur")
    expect(page.locator("#decide")).to_have_count(0)
    page.keyboard.press("3")
    expect(page.locator("#message")).to_have_text("This job is closed.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_it_fits_a_small_screen_and_every_text_can_be_read(visit, posts, shot, width, scheme):
    fill_queue(posts)
    job_id = a_rich_job(visit, posts)
    visit.page.emulate_media(color_scheme=scheme)
    visit.page.set_viewport_size({"width": width, "height": 900})
    for path in (QUEUE, f"{QUEUE}/{job_id}"):
        page = visit.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(FAINT) == []
        shot(f"{'job' if job_id in path else 'queue'}-{width}-{scheme}")


def test_every_control_has_a_name_and_shows_its_focus(visit, posts):
    job_id = a_rich_job(visit, posts)
    for path in (QUEUE, f"{QUEUE}/{job_id}"):
        page = visit.open(path)
        as_vera(page)
        if job_id in path:
            page.keyboard.press("l")
            expect(page.locator("#lease")).to_contain_text("Yours")
        assert page.evaluate(NAMELESS) == []
        seen = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            name, outline = page.evaluate(FOCUSED)
            if name == "BODY":
                break
            seen.add(name)
            assert outline, f"{name} shows no focus"
        wanted = {"reviewer", "next"} | ({"take", "harm", "reason", "submit"} - {"take"} if job_id in path else set())
        assert wanted <= seen


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[LiveGateway, TokenFactory]]:
    factory = TokenFactory(tmp_path / "access")
    door = Door(TokenVerifier(factory.settings, factory.folder.public_file, SystemClock()))
    home = tmp_path / "guarded"
    home.mkdir()
    with live_gateway(home, door=door) as running:
        yield running, factory


def test_with_a_token_one_reviews_under_its_name(context, guarded):
    gateway, factory = guarded
    posts = DecidedPosts(gateway.deps)
    job = posts.queue()
    page = context.new_page()
    page.goto(f"{gateway.url}{QUEUE}/{job.job_id}")
    assert page.url.endswith("/console/sign-in")
    page.get_by_label("Token").fill(factory.right(Role.reader, Role.reviewer, subject="vera"))
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/console")
    page.get_by_role("link", name="Review").click()
    expect(page.locator("#who")).to_have_text("vera")
    page.keyboard.press("n")
    page.wait_for_url(f"**{job.job_id}")
    decide(page, "1", "Harmless.")
    page.wait_for_url(f"**{QUEUE}")
    assert posts.store.in_force(["post-1"])["post-1"].actor_id == "vera"


def test_who_does_not_review_sees_no_link_and_no_page(context, guarded):
    gateway, factory = guarded
    page = context.new_page()
    page.goto(f"{gateway.url}/console/sign-in")
    page.get_by_label("Token").fill(factory.right(Role.reader))
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/console")
    expect(page.get_by_role("link", name="Homepage")).to_be_visible()
    expect(page.get_by_role("link", name="Review")).to_have_count(0)
    assert page.goto(f"{gateway.url}{QUEUE}").status == 403


#: Texts whose contrast with what is behind them is below 4.5 (WCAG AA).
FAINT = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const node of document.querySelectorAll("main *, header *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.getClientRects().length || node.closest("svg, fieldset[disabled], [hidden], :disabled")) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const called = `${node.tagName}.${node.className} ${node.textContent.trim().slice(0, 30)}`;
    if (ratio < 4.5) faint.push(`${called} ${ratio.toFixed(2)}`);
  }
  return faint;
}"""

NAMELESS = """() => [...document.querySelectorAll("button, input, select, textarea, a")]
  .filter((one) => one.getClientRects().length
    && !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length)).map((one) => one.outerHTML)"""

FOCUSED = """() => {
  const one = document.activeElement;
  const label = one.closest(".action");
  const style = getComputedStyle(label ?? one);
  return [one.id || one.tagName, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2];
}"""


def test_measures_stand_under_the_queue_and_what_is_unknown_is_said_so(
    visit: Visit, posts: DecidedPosts, shot: Callable[[str], None]
) -> None:
    for number in range(12):
        posts.put(f"down-{number}", "enforce", age=timedelta(hours=1))
    posts.store.add_reactions(
        "test", [ReactionDelta("e", "down-1", impressions=1_204, at=datetime(2026, 1, 1, tzinfo=UTC))]
    )
    page = visit.open(QUEUE)
    section = page.get_by_role("region", name="The last 7 days")
    expect(section).to_contain_text("unknown")  # prevalence: nobody has looked at a sample
    expect(section).to_contain_text("1,204")
    expect(section).to_contain_text("100% (76%–100%)")
    assert visit.complaints == []
    shot("review-measures")
