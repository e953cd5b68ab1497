"""The page in a real browser, with `make test-browser` and a Chromium.

Pictures of every page at two widths go to the folder that IPAD_JAX_SCREENSHOTS names, to be looked at.
"""

import json

import pytest

pytest.importorskip("playwright.sync_api", reason="no browser: `make test-browser` has one")
from browser import CHROMIUM, NO_CHROMIUM, opened, picture, serving
from test_page_jobs import until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)]
WIDTHS = (1200, 360)
PAGES = ("/", "/data", "/train", "/threshold", "/try", "/live", "/events", "/jobs", "/help")
TABLE = {
    "calibration": "held_out",
    "minutes": 5.0,
    "unit_s": 1.0,
    "another_recording": True,
    "wishes": [
        {"per_hour": p, "threshold": t, "sustained": s, "extrapolated": p < 5, "above": 0}
        for p, t, s in ((0.1, 90.0, None), (1.0, 12.0, 4.0), (10.0, 6.0, 2.0))
    ],
    "normal": [0.5 + 0.05 * i for i in range(60)],
    "normal_sustained": [0.4] * 60,
    "faults": [
        {"video": "01", "kind": k, "start_s": 1.0, "end_s": 2.0, "score": s, "sustained": None}
        for k, s in (("motion", 8.0), ("logic", 40.0))
    ],
}


@pytest.fixture
def served(ui):
    """The address of the page, served as the command does."""
    with serving(ui.settings) as address:
        yield address


@pytest.fixture
def page(served):
    """A browser's page, which must raise no error and break no policy."""
    with opened(served) as page:
        yield page


def test_every_page_fits_both_widths(ui, page):
    for address in (*PAGES, ui.run_at, f"{ui.run_at}/detection?of=detect/today"):
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(address, wait_until="networkidle")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, address
            picture(
                page, f"{address.strip('/').replace('/', '_').partition('?')[0] or 'runs'}_{width}"
            )


def test_a_job_is_followed_and_stopped_from_its_page(ui, page):
    """Output and the bar come without a reload; Stop asks, and the page says so."""
    job = ui.jobs.start("train", ["train"], "train a press", run=str(ui.run), back=ui.run_at)
    page.goto(f"/jobs/{job.id}")
    page.wait_for_selector("#log:has-text('step 5/100')")
    page.wait_for_selector("#bar:not([hidden])")
    page.wait_for_selector("#live canvas")  # the curve of metrics.jsonl
    picture(page, "job")
    page.click("text=Stop")
    page.wait_for_selector("text=stopped")
    assert ui.jobs.get(job.id).status == 143


def test_enter_in_the_minutes_of_a_training_resumes_it(ui, page):
    """And does not evaluate the run, which the button above it does."""
    job = ui.jobs.start("train", ["train", "--workdir", str(ui.run)], "a", run=str(ui.run))
    until(lambda: "step" in ui.jobs.tail(job.id))
    ui.jobs.stop(job.id)
    until(lambda: not ui.jobs.get(job.id).alive)
    page.goto(ui.run_at)
    page.get_by_label("minutes of training").focus()
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")
    assert ui.jobs.all()[0].words[-1] == "--config.max_seconds=180"


def test_arrow_keys_go_through_the_list_of_runs_and_the_button_shows_one(ui, page):
    page.goto("/threshold")
    page.focus("select[name=run]")
    for key in ("ArrowDown", "ArrowUp", "ArrowDown"):
        page.keyboard.press(key)
    assert "run=" not in page.url
    chosen = page.locator("select[name=run]").input_value()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**run={chosen}")


def test_the_slider_moves_thresholds_and_what_is_caught(ui, page):
    """From the keyboard, in three actions: move, look, save."""
    path = ui.settings.home / "tables" / f"{ui.id}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(TABLE))
    page.goto(f"/threshold?run={ui.id}")
    page.wait_for_selector("#rate:enabled")
    assert "At most 1 an hour: alarm above 12" in page.inner_text("#promise")
    assert "1 of 2 caught" in page.inner_text("#faults")
    page.focus("#rate")
    page.keyboard.press("ArrowRight")
    assert "At most 10 an hour: alarm above 6" in page.inner_text("#promise")
    assert "2 of 2 caught" in page.inner_text("#faults")
    page.keyboard.press("Home")
    assert "one in 10 hours" in page.inner_text("#promise")
    assert "never for its median" in page.inner_text("#promise")
    page.keyboard.press("End")
    picture(page, "threshold_moved")
    page.click("text=Save as the calibration")
    page.wait_for_url("**/jobs/*")
    assert ui.jobs.all()[0].words[3:5] == ("--false-alarms-per-hour", "10")


def test_the_purposes_offered_fit_the_dataset(ui, page, prepared):
    page.goto("/train")
    for dataset, fits in (
        ("press7_64x64_q95 (video_folder)", "video"),
        ("bottle (image_folder)", "pca"),
    ):
        page.select_option("select[name=dataset]", label=dataset)
        assert page.locator("select[name=purpose] option:checked").is_enabled()
        assert page.locator(f"option[value={fits}]").is_enabled()
        assert page.locator("option[value=object]").is_disabled()


def test_a_file_is_sent_with_a_bar_and_what_is_wrong_with_it_is_said(ui, served, tmp_path):
    """Without leaving the page, so that another can be chosen; and the sending can be stopped."""
    wrong = tmp_path / "a.mp4"
    wrong.write_bytes(b"no video" * 100)
    with opened(served, check=False) as page:  # the refusal is in the console
        page.goto(f"/try?run={ui.id}")
        page.set_input_files("input[type=file]", wrong)
        page.click("text=Judge it")
        page.wait_for_selector("form .notice:has-text('does not begin as a .mp4 does')")
        page.route("**/start", lambda route: None)  # it never arrives
        page.click("text=Judge it")
        page.wait_for_selector("form progress")
        page.click("text=Stop sending")
        page.wait_for_selector("form .notice:has-text('Stopped')")
        assert page.get_by_role("button", name="Judge it").is_enabled()


def test_a_watch_that_falls_silent_is_not_said_to_be_calm(ui, page):
    """The last row is of seconds ago: after ten without another the page says so."""
    (ui.run / "detect" / "cam").mkdir()
    (ui.run / "detect" / "today").rename(ui.run / "detect" / "cam" / "today")
    page.clock.install()
    (ui.run / "detect" / "cam" / "today" / "scores.csv").touch()  # it goes on
    page.goto(f"/live?run={ui.id}", wait_until="domcontentloaded")
    page.wait_for_selector("#verdict:has-text('ALARM')")
    page.clock.fast_forward(20_000)
    page.wait_for_selector("#verdict:has-text('nothing heard for')")


def test_a_report_s_script_does_not_run(ui, served):
    """Its alert would open a dialog; the policy names it in the console instead."""
    dialogs = []
    with opened(served, check=False) as page:
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(f"{ui.run_at}/file/eval/strict/report.html", wait_until="networkidle")
        assert "report" in page.inner_text("body")
    assert not dialogs
