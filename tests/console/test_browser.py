"""The page as a person meets it: in a real browser."""

from tests.console.browsing import contrast
from tests.servers import RETURNS


def test_asking_streams_an_answer_with_its_passages_beside_it(open_page):
    page = open_page()
    page.fill("#question", "Within how many days may goods be returned?")
    page.keyboard.press("Enter")
    page.locator("#spent").filter(has_text="12 tokens").wait_for()
    assert page.locator("#answer").text_content().strip()
    source = page.locator("#citations li").first
    assert "returns.md" in source.text_content()
    assert source.locator("mark").text_content() == (
        "Goods may be returned within thirty days of delivery."
    )
    source.get_by_role("link").click()
    passage = page.locator("#passage")
    passage.wait_for()
    assert passage.text_content() == "Goods may be returned within thirty days of delivery."
    assert page.title().startswith("returns.md")  # the document's own script did not run
    assert RETURNS.strip() in page.locator("#document").text_content()


def test_a_citations_address_from_the_api_opens_at_its_quote(open_page, platform):
    knowledge = platform.knowledge.versions("handbook")[0].ref
    page = open_page(f"/knowledge/{knowledge}/returns.md#11-64")
    page.locator("#passage").wait_for()
    assert page.url.endswith("?span=11-64#passage")
    assert page.locator("#passage").is_visible()


def test_a_search_of_a_knowledge_base_opens_a_document_at_the_passage(open_page):
    page = open_page()
    page.get_by_role("link", name="Knowledge bases", exact=True).click()
    page.get_by_role("link", name="handbook@1").click()
    page.fill("#question", "When is a refund paid?")
    page.keyboard.press("Enter")
    hit = page.locator("#hits li").first
    hit.wait_for()
    assert hit.locator("mark").text_content().startswith("A refund is paid within five")
    hit.get_by_role("link").click()
    passage = page.locator("#passage")
    passage.wait_for()
    assert passage.text_content().startswith("A refund is paid within five working days.")
    page.get_by_role("link", name="From the knowledge base handbook").click()
    assert page.locator("#documents tbody tr").count() == 2


def test_the_pages_of_knowledge_fit_a_phone_and_have_contrast(open_page):
    for path in ("/knowledge", "/knowledge/handbook?q=refund"):
        page = open_page(path, viewport={"width": 360, "height": 740})
        wide = page.locator("html").evaluate("e => e.scrollWidth - e.clientWidth")
        assert wide <= 0, path
    for scheme in ("light", "dark"):
        page = open_page("/knowledge/handbook?q=refund", color_scheme=scheme)
        for selector in ("h1", ".muted", "#send", "mark", "#documents a"):
            assert contrast(page.locator(selector).first) >= 4.5, (scheme, selector)


def test_markup_in_a_question_stays_text(open_page):
    page = open_page()
    page.fill(
        "#question", "returns <img src=x onerror=alert(1)> <script>document.title='x'</script>"
    )
    page.click("#send")
    page.locator("#spent").filter(has_text="tokens").wait_for()
    assert page.locator("#reply img, #reply script").count() == 0


def test_the_language_switch_changes_every_word_and_sticks(open_page):
    page = open_page(locale="zh-CN")
    assert page.locator("h1").text_content() == "客户服务"
    assert page.get_by_role("button", name="提问").is_visible()
    page.click("#language")
    assert page.locator("h1").text_content() == "Customer service"
    page.goto(page.url.partition("?")[0])
    assert page.get_by_role("button", name="Ask", exact=True).is_visible()


def test_an_error_is_told_in_the_page(open_page):
    page = open_page()
    page.fill("#question", "x" * 6000)
    page.click("#send")
    page.get_by_role("alert").filter(has_text="context is 4096 tokens").wait_for()
    page.fill("#question", "Hello")
    page.click("#send")  # and the next question works
    page.locator("#spent").filter(has_text="12 tokens").wait_for()


def test_the_page_fits_a_phone_and_works_by_keyboard(open_page):
    page = open_page(viewport={"width": 360, "height": 740})
    wide = page.locator("html").evaluate("e => e.scrollWidth - e.clientWidth")
    assert wide <= 0
    reached = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        focused = "() => document.activeElement.id || document.activeElement.className"
        reached.add(page.locator("html").evaluate(focused))
    assert {"skip", "language", "question", "send"} <= reached


def test_the_page_has_enough_contrast_in_light_and_dark(open_page):
    for scheme in ("light", "dark"):
        page = open_page(color_scheme=scheme)
        for selector in ("h1", ".muted", ".badge.good", "#send", "a", ".verdict"):
            assert contrast(page.locator(selector).first) >= 4.5, (scheme, selector)
