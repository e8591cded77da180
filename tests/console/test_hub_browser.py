"""The hub as a person meets it: in a real browser."""

import pytest

from tests.console.browsing import contrast
from tests.console.repositories import CHAT, HOSTILE

MODEL = f"/hub/models/{CHAT}"


def test_a_model_is_found_narrowed_to_and_read(open_page):
    page = open_page()
    page.get_by_role("link", name="Hub", exact=True).click()
    page.fill("#query", "gadget")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Clear all").wait_for()
    page.select_option("#field-sort", "name")
    page.wait_for_url("**sort=name*")
    page.get_by_role("link", name=CHAT).click()
    assert page.locator("#card h2").first.text_content() == "Gadget chat"
    page.get_by_text("recipe.yaml", exact=True).click()
    assert page.locator("pre:visible", has_text=f"base: {CHAT}").count() == 1
    page.locator("#card").get_by_role("link", name="handbook").click()
    assert page.locator("#lines li").count() == 3
    page.select_option("#revision", "v1")
    page.wait_for_url("**revision=v1")
    assert page.locator("#lines li").count() == 1
    page.get_by_role("link", name="History", exact=True).click()
    assert page.locator("#commits li").count() == 1


def test_a_like_changes_the_button_alone(open_page):
    page = open_page(MODEL)
    page.evaluate("window.here = true")
    page.get_by_role("button", name="Like").click()
    page.locator("#like [aria-pressed=true]").wait_for()
    page.get_by_role("button", name="Liked").click()
    page.locator("#like [aria-pressed=false]").wait_for()
    assert page.evaluate("window.here")


def test_a_hostile_card_is_text(open_page):
    page = open_page(f"/hub/models/{HOSTILE}")
    card = page.locator("#card")
    assert card.locator("img, script, iframe, form, svg, style").count() == 0
    assert page.title().startswith(HOSTILE)
    assert card.is_visible()
    page.get_by_role("link", name="tab", exact=True).click()
    page.get_by_text("There is no file").wait_for()


@pytest.mark.parametrize(
    "path", ["/hub", MODEL, f"{MODEL}/files", f"{MODEL}/file/model.safetensors", f"{MODEL}/history"]
)
def test_the_pages_of_the_hub_fit_a_phone_and_have_contrast(open_page, path):
    page = open_page(path, viewport={"width": 360, "height": 740})
    assert page.locator("html").evaluate("e => e.scrollWidth - e.clientWidth") <= 0
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for selector in ("h1", "main .muted", "main a", "nav.pages [aria-current]"):
            assert contrast(page.locator(selector).first) >= 4.5, (scheme, selector)


def test_the_hub_speaks_chinese(open_page):
    page = open_page(MODEL, locale="zh-CN")
    assert page.get_by_role("heading", name="使用方法").is_visible()
    page.get_by_role("link", name="文件").click()
    assert page.get_by_role("columnheader", name="最近变更").is_visible()
