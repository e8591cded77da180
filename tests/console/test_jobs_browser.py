"""Jobs as a person meets them: in a real browser, while they run."""

import pytest

from baigong.store.points import Points
from tests.console import working
from tests.console.browsing import contrast
from tests.console.conftest import report_of
from tests.servers import PASSED


@pytest.fixture(scope="module")
def outputs():
    return working.outputs(report_of({"candidate": 0.9, "base": 0.2}), PASSED)


@pytest.fixture(scope="module")
def early(outputs):
    return {step: outputs[step] for step in ("plan", "prepare", "ground")}


def test_without_a_job_the_page_says_what_to_type(open_page):
    page = open_page()
    page.get_by_role("link", name="Jobs", exact=True).click()
    assert page.locator("#empty pre").text_content() == "baigong tune rows.csv"


def test_a_curve_grows_by_itself_from_its_first_point(open_page, platform, early):
    job = working.put(
        platform,
        "grows",
        title="客户服务：退换货",
        points=1,
        done=early,
        now="tune",
        state="running",
    )
    with working.held(platform, job):
        page = open_page(f"/jobs/{job.id}")
        page.evaluate("window.here = true")
        assert page.locator("h1").text_content() == "客户服务：退换货"
        assert "at step 1 the loss is 3.226" in page.locator("#point").text_content()
        points = Points(platform.database, job.id)
        for number in range(2, 161):
            points.hear(working.point(number))
        points.keep()
        page.locator("polyline.training").wait_for(state="attached")
        assert page.locator("circle.validation").count() == 8
        events = page.locator("#events")
        assert "Step 160: evaluated, validation loss" in events.text_content()
        assert "memory ran out; 2,048 tokens at once" in events.text_content()
        page.get_by_text("earlier", exact=False).click()
        points.hear(working.point(161))
        points.keep()
        page.get_by_text("in 161 steps").wait_for()
        assert page.locator("#earlier").is_visible()
        assert page.evaluate("document.activeElement.tagName") == "SUMMARY"  # it keeps the focus
        assert page.evaluate("window.here")


def test_a_running_job_is_paused_and_cancelled_by_its_buttons(open_page, platform, early):
    job = working.put(platform, "obeys", points=9, done=early, now="tune", state="running")
    with working.held(platform, job):
        page = open_page("/jobs")
        row = page.locator(f"#job-{job.id}")
        assert "step 9 of 300" in row.text_content() and "1,234" in row.text_content()
        row.get_by_role("button", name="Pause").click()
        page.get_by_text("pausing").wait_for()
        assert platform.jobs.get(job.id).wish == "pause"
        page.once("dialog", lambda dialog: dialog.dismiss())
        page.get_by_role("button", name="Cancel").click()
        assert platform.jobs.get(job.id).wish == "pause"
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("cancelling").wait_for()
        assert page.get_by_role("button", name="Resume").count() == 0
    page.get_by_text("cancelled").wait_for()  # by itself: whoever ran it is gone


def test_a_paused_job_goes_on_in_the_server_by_its_button(open_page, platform, early):
    job = working.put(platform, "goes-on", points=9, done=early, state="paused")
    page = open_page(f"/jobs/{job.id}")
    assert "Resume goes on from its last checkpoint" in page.locator("#remedy").text_content()
    page.get_by_role("button", name="Resume").click()
    # The server takes it up, and its recipe is none.
    page.locator("#failure").filter(has_text="does not hold a recipe").wait_for()
    assert page.get_by_role("button", name="Resume").count() == 0


def test_markup_in_names_stays_text(open_page, platform, early):
    job = working.put(
        platform, "evil <b>", title=working.EVIL, points=3, done=early, state="paused", now="tune"
    )
    for path in ("/jobs", f"/jobs/{job.id}"):
        page = open_page(path)
        assert page.get_by_text(working.EVIL).first.is_visible()
        assert page.locator("main img, main b").count() == 0


def test_without_scripts_the_pages_read_and_their_buttons_work(open_page, platform, early):
    job = working.put(platform, "plain", points=30, done=early, now="tune", state="paused")
    page = open_page("/jobs", java_script_enabled=False)
    page.locator(f"#job-{job.id}").get_by_role("button", name="Cancel").click()
    assert page.url.endswith(f"/jobs/{job.id}")
    assert page.locator(".badge").first.text_content() == "cancelled"
    assert page.locator("polyline.training").count() == 1


def test_the_pages_of_jobs_fit_a_phone_and_have_contrast(open_page, platform, outputs, early):
    done = working.put(platform, "done", points=300, done=outputs, state="done")
    failed = working.put(platform, "failed", done=early, state="failed", error="It broke.")
    for path in ("/jobs", f"/jobs/{done.id}", f"/jobs/{failed.id}"):
        page = open_page(path, viewport={"width": 360, "height": 740})
        assert page.locator("html").evaluate("e => e.scrollWidth - e.clientWidth") <= 0, path
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            for selector in ("h1", "main .muted", "main a", "main .badge"):
                assert contrast(page.locator(selector).first) >= 4.5, (path, scheme, selector)


def test_the_pages_of_jobs_speak_chinese(open_page, platform, outputs):
    job = working.put(platform, "speaks", points=300, done=outputs, state="done")
    page = open_page(f"/jobs/{job.id}", locale="zh-CN")
    assert page.get_by_role("heading", name="设置与理由").is_visible()
    assert page.get_by_role("columnheader", name="理由").is_visible()
    assert "第 300 步：已评测" in page.locator("#events").text_content()
