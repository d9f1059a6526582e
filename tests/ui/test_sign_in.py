"""Signing in to the console, in a real Chromium: what a cookie may and may not do is the browser's to say."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from core.access.roles import Role
from core.access.tokens import TokenVerifier
from core.clock import SystemClock
from serving.access import COOKIE, Door
from tests.live_gateway import LiveGateway, live_gateway
from tests.ui.conftest import RED, Visit
from tests.unit.core.access.token_factory import WRONG, TokenFactory

pytestmark = pytest.mark.integration


@pytest.fixture
def factory(tmp_path: Path) -> TokenFactory:
    return TokenFactory(tmp_path / "access")


@pytest.fixture
def gateway(tmp_path: Path, factory: TokenFactory) -> Iterator[LiveGateway]:
    door = Door(TokenVerifier(factory.settings, factory.folder.public_file, SystemClock()))
    with live_gateway(tmp_path, min_score=0.8, door=door) as running:
        running.http.headers["authorization"] = f"Bearer {factory.right(Role.producer, Role.reader)}"
        yield running


def sign_in(visit: Visit, token: str) -> None:
    visit.page.get_by_label("Token").fill(token)
    visit.page.get_by_role("button", name="Sign in").click()


def test_a_person_signs_in_searches_and_signs_out(visit: Visit, factory: TokenFactory) -> None:
    visit.gateway.upload("red", RED, title="Red")
    page = visit.open("/console")
    assert page.url.endswith("/console/sign-in")
    sign_in(visit, WRONG["expired"](factory, tuple(Role)))
    expect(page.locator("#message")).to_contain_text("expired")
    visit.complaints.clear()  # the browser tells of the 401
    sign_in(visit, factory.right(Role.reader, Role.producer, Role.reviewer, Role.admin))
    page.wait_for_url("**/console")
    expect(page.locator("#index-items")).to_have_text("1")
    page.locator(".card:visible", has_text="Red").click()
    page.locator("#answer-title", has_text="Similar to Red").wait_for()
    assert visit.complaints == []
    assert page.evaluate("document.cookie") == ""
    [cookie] = [one for one in page.context.cookies() if one["name"] == COOKIE]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/console/sign-in")
    assert [one for one in page.context.cookies() if one["name"] == COOKIE] == []


def test_another_site_cannot_act_with_the_cookie(visit: Visit, factory: TokenFactory) -> None:
    page = visit.open("/console/sign-in")
    sign_in(visit, factory.right(Role.reader, Role.admin))
    page.wait_for_url("**/console")
    rebuild = f"{visit.gateway.url}/v1/index/rebuild"
    page.goto("about:blank")
    page.set_content(f'<form method="post" action="{rebuild}"></form>')
    with page.expect_response("**/v1/index/rebuild") as answered:
        page.evaluate("document.forms[0].submit()")
    assert answered.value.status in (401, 403)
