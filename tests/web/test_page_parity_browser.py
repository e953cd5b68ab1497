"""What a person expects of the page, each in a browser, on tiny trained runs with real commands behind it.

Two lists: what an engineer at a machine asks for, and the tabs of a student's page for images and videos
(analyse images, analyse video, train image, train video, view results, help). A test each.
"""

import json
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import pytest

pytest.importorskip("playwright.sync_api", reason="no browser: `make test-browser` has one")
import drawn_images
import drawn_video
import tethered
from browser import CHROMIUM, NO_CHROMIUM, opened, picture, serving

from ipad_jax.main import main
from ipad_jax.web.jobs import Jobs
from ipad_jax.web.runs import find_runs
from ipad_jax.web.settings import Settings

pytestmark = [pytest.mark.long, pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)]
WAIT_MS = 150_000  # of a job, on a machine that is busy
FPS, SECONDS, FAULT_S = 25, 8, (4, 6)  # of each video; of the faulty ones


def video(path, first, fault=False):
    """A round machine; with a fault something lies on the plate for two seconds."""
    pictures = [drawn_video.scene(first + i) for i in range(FPS * SECONDS)]
    for frame in pictures[FPS * FAULT_S[0] : FPS * FAULT_S[1]] if fault else ():
        frame[10:30, 10:40] = (250, 30, 240)
    return drawn_video.write(path, pictures)


@pytest.fixture(scope="module")
def factory(tmp_path_factory):
    """A root with footage and photographs, both prepared, and three tiny runs on them, evaluated."""
    root = tmp_path_factory.mktemp("factory").resolve()
    for number in range(2):
        video(root / "footage" / "train" / "normal" / f"{number}.mp4", 1000 * number)
    video(root / "footage" / "test" / "normal" / "a.mp4", 7000)
    video(root / "footage" / "test" / "object" / "b.mp4", 8000, fault=True)
    video(root / "today.mp4", 9000, fault=True)
    drawn_images.write_folder(root / "parts", train=24, good=4, spots=4)
    torn = root / "torn" / "train" / "good"
    for number in range(3):
        drawn_images.write(torn / f"{number}.png", drawn_images.stripes(number))
    (torn / "half.png").write_bytes((torn / "0.png").read_bytes()[:200])
    data_dir = root.parent / "prepared"
    where = ["--data-dir", str(data_dir)]
    footage = ["--source", str(root / "footage"), "--name", "press", "--size", "32"]
    parts = ["--source", str(root / "parts"), "--name", "bottle"]
    assert main(["prepare", "video_folder", *footage, *where]) == 0
    assert main(["prepare", "image_folder", *parts, *where]) == 0
    for name, config, data, steps in (
        ("pca", "pca:tiny", "bottle", 0),
        ("rebuilt", "autoencoder:tiny", "bottle", 20),
        ("press", "video_folder:tiny", "press", 4),
    ):
        leaves = {"data.name": data, "data.data_dir": data_dir, "total_steps": steps, "seed": 3}
        words = [f"--config.{leaf}={value}" for leaf, value in leaves.items()]
        words += ["--config.data.size=32"] if name == "press" else []
        run = ["--workdir", str(root / "runs" / name)]
        assert main(["train", "--config", config, *run, *words]) == 0
        assert main(["evaluate", *run]) == 0
    plain = Settings((root,), data_dir)
    settings = replace(plain, program=tethered.words(*plain.program))
    with serving(settings) as address:
        yield SimpleNamespace(root=root, address=address, settings=settings)
    jobs = Jobs(settings.home, settings.program)
    for job in jobs.all():
        jobs.stop(job.id, at_once=True)


@pytest.fixture
def page(factory, request):
    with opened(factory.address) as page:
        page.set_default_timeout(30_000)
        yield page
        picture(page, f"parity_{request.node.name.removeprefix('test_')}")


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def go(page, name, run=""):
    """A page by its link at the top, and a run in its list."""
    page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
    if run and page.locator("select[name=run] option:checked").inner_text() != f"runs/{run}":
        page.select_option("select[name=run]", label=f"runs/{run}")
        page.wait_for_url("**run=*")


def until_done(page, expected="done"):
    """Waits for the job whose page is open."""
    page.wait_for_selector("#state:not(:has-text('running'))", timeout=WAIT_MS)
    assert expected in page.inner_text("#state"), page.inner_text("#log")


def loaded(page, selector):
    """Waits until the first picture of a kind is there, decoded."""
    page.locator(selector).first.scroll_into_view_if_needed()
    page.wait_for_function(
        "s => { const i = document.querySelector(s); return i && i.complete && i.naturalWidth > 0 }",
        arg=selector,
    )


def logged(run):
    """Steps whose loss a run has logged."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["step"] for row in rows if "loss" in row]


def judge(page, run, path):
    """Try: a file by a run; the page of what was found."""
    go(page, "Try", run)
    page.set_input_files("input[type=file]", path)
    press(page, "Judge it")
    until_done(page)
    page.click("#back")


# What an engineer at a machine expects.


def test_a_folder_is_chosen_and_what_is_wrong_with_it_is_said(factory):
    with opened(factory.address, check=False) as page:  # the torn picture has no thumbnail
        page.goto("/data")
        page.click("main a:has-text('torn/')")
        loaded(page, ".thumbs img")
        press(page, "Check it")
        until_done(page, "problems found")
        assert "half.png" in page.inner_text("#log")


def test_a_training_is_followed_stopped_and_resumed(page, factory):
    """The third tab's: a category, how long, batch, learning rate and loss; and what it had not."""
    page.goto("/train")
    page.select_option("select[name=dataset]", label="bottle (image_folder)")
    page.select_option("select[name=purpose]", value="autoencoder")
    page.fill("input[name=name]", "long")
    page.fill("input[name=steps]", "30")
    page.click("summary")
    page.fill("input[name=rate]", "0.0005")
    page.fill("input[name=batch_size]", "1")
    page.select_option("select[name=loss]", label="ssim")
    press(page, "Start training")
    page.wait_for_selector("#live canvas", timeout=WAIT_MS)
    page.wait_for_selector("#bar:not([hidden])")
    page.wait_for_function("document.getElementById('progress').textContent.match(/left/)")
    picture(page, "parity_training")
    press(page, "Stop")
    until_done(page, "stopped")
    run = factory.root / "runs" / "long"
    config = json.loads((run / "config.json").read_text())
    assert (config["optim"]["lr"], config["batch_size"], config["model"]["loss"]) == (
        0.0005,
        1,
        "ssim",
    )
    steps = logged(run)
    page.click("#back")
    press(page, "Resume training")
    until_done(page)
    again = logged(run)
    assert again[: len(steps)] == steps
    assert again == sorted(set(again))
    assert again[-1] == 30


def test_runs_are_compared(page):
    page.goto("/")
    for name in ("pca", "rebuilt"):
        page.get_by_label(f"compare runs/{name}", exact=True).check()
    press(page, "Compare the ticked runs")
    assert "image AUROC" in page.inner_text("main")
    assert "model.loss" in page.inner_text("main")
    page.wait_for_selector(".chart canvas")


def test_an_image_threshold_is_set_by_looking(page, factory):
    """Pictures and counts go with the choice; what is saved is what `detect` takes."""
    page.goto("/threshold")
    go(page, "Threshold", "pca")
    press(page, "Look at the normal scores")
    until_done(page)
    page.click("#back")
    loaded(page, ".thumbs img")
    for share in ("0.1 %", "20.0 %"):
        page.get_by_label(share, exact=True).check()
        chosen = page.locator("input[name=share]:checked")
        threshold = float(chosen.get_attribute("data-threshold"))
        for image in page.locator("[data-score]").all():
            alarm = float(image.get_attribute("data-score")) > threshold
            assert image.inner_text() == ("alarm" if alarm else "no alarm")
    page.locator("h2:has-text('Test images')").scroll_into_view_if_needed()
    picture(page, "parity_threshold_images")
    press(page, "Save as the calibration in force")
    until_done(page)
    page.click("#back")
    assert "In force: chosen-" in page.inner_text("main")
    path = drawn_images.write(factory.root.parent / "part.png", drawn_images.stripes(300))
    judge(page, "pca", path)
    assert f"threshold {threshold:.6g}"[:12] in page.inner_text(".verdict")


def test_a_video_threshold_is_set_by_looking(page):
    page.goto("/threshold")
    go(page, "Threshold", "press")
    press(page, "Look at the normal scores")
    until_done(page)
    page.click("#back")
    page.wait_for_selector("#rate:enabled")
    loaded(page, "#faults img")
    page.focus("#rate")
    page.keyboard.press("End")
    loose = page.inner_text("#promise")
    page.keyboard.press("Home")
    assert page.inner_text("#promise") != loose
    assert "of 1 caught" in page.inner_text("#faults")


def test_a_picture_is_tried(page, factory):
    """The first tab's: verdict, score, threshold, heat map, reconstruction."""
    image = drawn_images.spot(310)[0]
    path = drawn_images.write(factory.root.parent / "spot.png", image)
    page.goto("/")
    judge(page, "rebuilt", path)
    for text in ("score", "threshold", "spot"):
        assert text in page.inner_text("main")
    loaded(page, "img[alt^='heat map']")
    loaded(page, "img[alt^='what']")


def test_a_video_is_tried(page, factory):
    """The second tab's: score over time and the alarms; and what it had not: side by side, jump, clip."""
    page.goto("/")
    judge(page, "press", factory.root / "today.mp4")
    assert "alarm" in page.inner_text(".verdict")
    loaded(page, "img[alt^='score over time']")
    page.wait_for_function("document.getElementById('all').readyState >= 1")
    page.locator("a[data-seek]").first.click()
    page.wait_for_function("document.getElementById('all').currentTime > 3")
    loaded(page, "td img")


def test_a_camera_is_watched_and_stopped(page):
    page.goto("/live")
    go(page, "Live", "press")
    page.select_option("select[name=camera]", label="today.mp4")
    press(page, "Watch it")
    page.wait_for_selector("img.now", timeout=WAIT_MS)
    page.wait_for_selector("#events figure", timeout=WAIT_MS)
    loaded(page, "#events img")
    picture(page, "parity_live")
    press(page, "Stop it")
    page.wait_for_selector("#state:not(:has-text('running'))", timeout=WAIT_MS)
    assert "stopped" in page.inner_text("#state")


def test_events_have_pictures_and_clips(page, factory):
    """Those of the video that was tried, and of the watch."""
    page.goto("/events")
    go(page, "Events", "press")
    loaded(page, "td img")
    assert page.locator("a:has-text('clip')").count() > 0
    address = page.locator("a:has-text('clip')").first.get_attribute("href")
    found = page.request.get(address, headers={"Range": "bytes=0-99"})
    assert (found.status, len(found.body())) == (206, 100)


def test_false_alarms_are_marked_and_learnt(page, factory):
    image = drawn_images.spot(320)[0]
    path = drawn_images.write(factory.root.parent / "sticker.png", image)
    page.goto("/")
    judge(page, "pca", path)
    assert page.inner_text(".verdict").startswith("Alarm")
    page.get_by_label("normal", exact=True).check()
    press(page, "Save these marks")
    until_done(page)
    page.click("#back")
    press(page, "Learn")
    until_done(page)
    judge(page, "pca", path)
    assert page.inner_text(".verdict").startswith("No alarm")


def test_a_run_is_taken_away(page, factory):
    page.goto("/")
    page.click("a:has-text('runs/press')")
    with page.expect_download() as download:
        page.click("text=The run folder as a zip file")
    with zipfile.ZipFile(download.value.path()) as archive:
        names = archive.namelist()
    files = [p for p in (factory.root / "runs" / "press").rglob("*") if p.is_file()]
    assert sorted(names) == sorted(
        f"press/{p.relative_to(factory.root / 'runs/press')}" for p in files
    )
    page.click("main li a >> nth=0")
    assert page.request.get(page.get_by_text("events.csv").get_attribute("href")).ok


def test_results_are_viewed(page):
    """The fifth tab's: evaluate, ROC, histogram, examples with reconstruction and truth, by defect."""
    page.goto("/")
    page.click("a:has-text('runs/rebuilt')")
    press(page, "Evaluate again")
    until_done(page)
    page.click("#back")
    assert "spot" in page.inner_text("table")
    page.click("text=The full report")
    loaded(page, "img")
    assert page.locator("svg").count() >= 2
    assert "what it was compared with" in page.inner_text("body")
    assert "spot" in page.inner_text("body")


def test_a_video_model_is_trained(page):
    """The fourth tab's."""
    page.goto("/train")
    page.select_option("select[name=dataset]", label="press_32x32_q95 (video_folder)")
    page.select_option("select[name=purpose]", value="video")
    page.fill("input[name=name]", "second")
    page.fill("input[name=steps]", "1")
    page.click("summary")
    page.fill("input[name=batch_size]", "2")
    press(page, "Start training")
    until_done(page)
    page.click("#back")
    assert "step 1 of 1" in page.inner_text("main")
    assert "in force" in page.inner_text("main")


def test_help_leads_to_every_page(page):
    page.goto("/help")
    links = page.locator("main a").evaluate_all(
        "links => links.map((link) => link.getAttribute('href'))"
    )
    assert {"/data", "/train", "/threshold", "/try", "/live", "/events"} <= set(links)
    for link in links:
        assert page.request.get(link).ok


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_with_all_that_was_made(factory, page, scheme):
    """Last, so that runs, events, jobs and watches are there; its pictures are to be looked at."""
    page.emulate_media(color_scheme=scheme)
    runs = {run.folder.name: run.id for run in find_runs(factory.settings.roots)}
    jobs = {job.kind: job.id for job in Jobs(factory.settings.home, ()).all()}
    addresses = {name: f"/{name}" for name in ("data", "train", "live", "jobs", "help")}
    addresses |= {"runs": "/", "compare": f"/compare?run={runs['press']}&run={runs['rebuilt']}"}
    addresses |= {f"run_{name}": f"/runs/{runs[name]}" for name in ("press", "rebuilt")}
    addresses |= {f"job_{kind}": f"/jobs/{jobs[kind]}" for kind in ("train", "watch")}
    for kind in ("threshold", "try", "events"):
        addresses |= {f"{kind}_{name}": f"/{kind}?run={runs[name]}" for name in ("press", "pca")}
    for run in find_runs(factory.settings.roots):
        for found in run.detections()[:1]:
            of = f"/runs/{run.id}/detection?of={found.name}"
            addresses[f"detection_{run.folder.name}"] = of
    for name, address in addresses.items():
        for width in (1200, 360):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(address, wait_until="load")
            page.wait_for_timeout(300)  # the curve is drawn
            assert page.evaluate("document.documentElement.scrollWidth") <= width, address
            picture(page, f"all_{name}_{width}_{scheme}")
