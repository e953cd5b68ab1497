"""What the forms start: the words of each command, what is refused, and that a page says which it was."""

import io
import json
import re
import time

import pytest
from PIL import Image

from ipad_jax.web import forms
from ipad_jax.web.runs import run_id
from ipad_jax.web.settings import NotThereError


def picture(size=(8, 8), kind="PNG"):
    out = io.BytesIO()
    Image.new("RGB", size, (9, 99, 200)).save(out, kind)
    return out.getvalue()


def started(ui):
    """Words of the job that was started last."""
    return list(ui.jobs.all()[0].words)


PAGES = ("/", "/data", "/train", "/threshold", "/try", "/live", "/events", "/jobs", "/help")


@pytest.mark.parametrize("address", PAGES)
def test_each_page_opens_with_runs_and_without(ui, root, address):
    assert ui.get(address).status_code == 200
    for path in root.rglob("config.json"):
        path.unlink()
    found = ui.get(address)
    assert found.status_code == 200
    assert "<h1>" in found.text


@pytest.mark.parametrize("address", PAGES)
def test_each_field_has_a_label_and_each_picture_a_text(ui, address):
    """Read from a screen, and used from the keyboard: the browser's own controls alone."""
    import re

    page = ui.get(address).text
    assert 'lang="en"' in page
    assert page.count("<h1>") == 1
    for field in re.findall(r"<(?:input|select)\b[^>]*>", page):
        labelled = 'type="hidden"' in field or "aria-label" in field
        before = page[: page.index(field)]
        assert labelled or before.count("<label") > before.count("</label"), field
    assert all('alt="' in tag for tag in re.findall(r"<img\b[^>]*>", page))


def test_data_lists_a_folder_and_shows_pictures(ui, root):
    folder = root / "bottle" / "train" / "good"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(picture())
    page = ui.get("/data?at=bottle").text
    assert "train/" in page
    assert "at=bottle/train/good/a.png" in page
    assert '<option value="image_folder" selected' in page
    found = ui.get("/data/picture?at=bottle/train/good/a.png")
    assert found.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(found.content)).size == (8, 8)


def test_a_folder_is_checked_and_prepared(ui, root):
    (root / "footage").mkdir()
    where = {"root": "0", "at": "footage", "kind": "video_folder"}
    assert ui.post("/data/work", where | {"what": "check", "fps": "25"}).status_code == 303
    source = str(root.resolve() / "footage")
    assert started(ui) == ["validate", "video_folder", "--source", source, "--fps", "25"]
    back = ui.jobs.all()[0].back
    assert '<option value="video_folder" selected' in ui.get(back).text
    assert '<option value="image_folder" selected' in ui.get(f"{back}&kind=image_folder").text
    fields = where | {"what": "prepare", "name": "press7", "size": "64", "cycle": "auto:2.5"}
    ui.post("/data/work", fields)
    data_dir = str(ui.settings.data_dir)
    words = ["prepare", "video_folder", "--source", source, "--name", "press7"]
    assert started(ui) == [*words, "--data-dir", data_dir, "--size", "64", "--cycle", "auto:2.5"]


def test_training_takes_the_leaves_of_the_dataset(ui, root, prepared):
    page = ui.get("/train").text
    assert "press7_64x64_q95" in page
    assert "half_64x64_q95" not in page
    fields = {"dataset": "video_folder/press7_64x64_q95", "purpose": "cycle", "name": "one"}
    assert ui.post("/train/start", fields | {"minutes": "1.5", "steps": "50"}).status_code == 303
    words = started(ui)
    assert words[:3] == ["train", "--config", "video_folder:cycle"]
    leaves = (
        "data.name=press7",
        "data.size=64",
        "data.quality=95",
        "max_seconds=90",
        "total_steps=50",
    )
    for leaf in leaves:
        assert f"--config.{leaf}" in words
    job = ui.jobs.all()[0]
    assert job.run == str(root.resolve() / "runs" / "one")
    assert "One runs at a time" in ui.get("/train").text
    assert "is running" in ui.post("/train/start", fields | {"name": "two"}).text


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../out"},
        {"name": ""},
        {"name": "--config.x=1"},
        {"name": "press"},  # is there
        {"purpose": "images"},  # of another kind of data
        {"purpose": "rm"},
        {"dataset": "video_folder/half_64x64_q95"},
        {"dataset": "../../etc"},
        {"minutes": "soon"},
        {"minutes": "-1"},
        {"minutes": "nan"},
        {"steps": "1e99"},
    ],
)
def test_a_training_that_makes_no_sense_is_refused(ui, prepared, change):
    fields = {"dataset": "video_folder/press7_64x64_q95", "purpose": "video", "name": "one"}
    assert ui.post("/train/start", fields | change).status_code == 400
    assert not ui.jobs.all()


def test_every_purpose_names_a_config_that_exists():
    from ipad_jax.run.config import config_path

    for purpose in forms.PURPOSES:
        config_path(purpose.config)


def test_a_refusal_leads_back_to_the_page_it_came_from(ui, prepared):
    fields = {"dataset": "video_folder/press7_64x64_q95", "purpose": "video", "name": "../out"}
    for referer, shown in (
        ("http://127.0.0.1:7860/train?a=1", 'href="/train?a=1"'),
        ("http://127.0.0.1:7860//evil.example/", 'href="/evil.example/"'),
        ("http://evil.example/x", ""),
        ("http://[", ""),
    ):
        found = ui.post("/train/start", fields, headers={"Referer": referer})
        assert found.status_code == 400
        assert (">Back<" in found.text) == bool(shown)
        assert shown in found.text


def test_a_purpose_that_fits_the_first_dataset_is_proposed(ui, prepared):
    page = ui.get("/train").text
    assert re.search(r'value="images" data-builders="image_folder parts" selected', page)


def test_options_of_videos_are_not_given_for_photographs(tmp_path):
    words = forms.prepare_words("image_folder", tmp_path, "a", "64", "2", "25", tmp_path)
    assert not {"--size", "--cycle", "--fps"} & set(words)


def test_a_picture_is_sent_and_judged(ui, root):
    run = root / "runs" / "press"
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"task": "image.bank"}))
    files = {"file": ("../../evil name.png", picture(), "image/png")}
    found = ui.post(f"/try/{ui.id}/start", files=files)
    assert found.status_code == 303
    words = started(ui)
    assert words[:4] == ["detect", "--workdir", str(ui.run), "--images"]
    (kept,) = (ui.settings.home / "uploads").iterdir()
    assert words[4] == str(kept)
    assert re.fullmatch("evil-name-[0-9a-f]{16}", kept.stem)
    (run / "detect" / kept.stem).mkdir(parents=True)
    page = ui.get(f"/runs/{ui.id}/detection?of=detect/{kept.stem}").text
    assert "<h1>evil-name</h1>" in page
    assert kept.read_bytes() == picture()
    assert ui.jobs.all()[0].back.endswith(f"/detection?of=detect/{kept.stem}")
    assert ui.post("/uploads/remove").status_code == 200
    assert not kept.exists()


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n" + b"x" * 50, 400),  # damaged
        ("a.png", b"GIF89a", 400),  # another kind
        ("a.pth", picture(), 400),
        ("a.npz", b"PK\3\4", 400),
        ("a.png.exe", picture(), 400),
        ("a", picture(), 400),
        ("", b"", 400),
        ("a.png", b"\x89PNG\r\n\x1a\n" + b"x" * 300_000, 413),
        ("a.mp4", b"\0\0\0\x18ftypisom" + b"x" * 5000, 400),
        ("a.avi", b"RIFF\0\0\0\0AVI " + b"x" * 1_200_000, 413),
        ("a.png", picture(), 400),  # whole, but the run judges videos
    ],
)
def test_what_is_no_picture_or_video_is_refused_and_removed(ui, name, content, status):
    found = ui.post(f"/try/{ui.id}/start", files={"file": (name, content)})
    assert found.status_code == status, found.text
    folder = ui.settings.home / "uploads"
    assert not folder.is_dir() or not list(folder.iterdir())
    assert not ui.jobs.all()


def test_a_picture_of_too_many_pixels_is_not_decoded(ui):
    """A small file: 20,000 x 20,000 pixels of one colour."""
    import zlib

    def chunk(kind, data):
        return (
            len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        )

    side = (20_000).to_bytes(4, "big")
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", side + side + b"\1\0\0\0\0")
    bomb += chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    found = ui.post(f"/try/{ui.id}/start", files={"file": ("a.png", bomb)})
    assert "100 million pixels" in found.text


def test_old_uploads_are_removed(ui):
    import os

    folder = ui.settings.home / "uploads"
    folder.mkdir(parents=True)
    for name, age in (("old.png", 2 * 24 * 3600), ("new.png", 60)):
        (folder / name).touch()
        now = (folder / name).stat().st_mtime
        os.utime(folder / name, (now - age, now - age))
    ui.get("/try")
    assert [path.name for path in folder.iterdir()] == ["new.png"]


def test_an_image_run_s_threshold_is_chosen_from_its_table(ui, root):
    """What is saved is the share that was chosen; a damaged table is none."""
    run = root.resolve() / "runs" / "bottle"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"task": "image.pca"}))
    name = run_id(run)
    assert "Not calibrated" in ui.get(f"/threshold?run={name}").text
    (run / "calibration.npz").write_bytes(b"x")
    ui.post(f"/threshold/{name}/work", {"what": "look"})
    words = started(ui)
    assert words[:4] == ["calibrate", "--workdir", str(run), "--table"]
    while ui.jobs.all()[0].alive:
        time.sleep(0.02)
    wishes = [
        {"share": share, "threshold": 3.0 - share, "bound": 0.2, "above": 0}
        for share in (0.01, 0.05)
    ]
    table = {"normal": [1.0, 2.0], "share": 0.05, "threshold": 2.95, "wishes": wishes}
    path = ui.settings.home / "tables" / f"{name}.json"
    path.write_text(json.dumps(table))
    page = ui.get(f"/threshold?run={name}").text
    assert "held_out" in page
    assert 'value="5.0" checked' in page
    assert "at most 20.0 %" in page
    ui.post(f"/threshold/{name}/work", {"what": "save", "share": "1.0"})
    assert ui.jobs.all()[0].words[:5] == (*words[:3], "--false-alarms", "1%")
    for bad in ("", "0", "x", "90", "nan"):
        sent = ui.post(f"/threshold/{name}/work", {"what": "save", "share": bad})
        assert sent.status_code == 400
    for damaged in ("{", '{"normal": ["x"]}', '{"normal": [1.0], "threshold": null}'):
        path.write_text(damaged)
        assert "Look at the normal scores" in ui.get(f"/threshold?run={name}").text


def test_the_threshold_is_looked_at_and_saved_by_commands(ui):
    at = f"/threshold/{ui.id}"
    assert ui.get(f"{at}/table").status_code == 404
    ui.post(f"{at}/work", {"what": "look"})
    words = started(ui)
    assert words[:4] == ["calibrate", "--workdir", str(ui.run), "--table"]
    from test_page_jobs import until

    until(lambda: not ui.jobs.all()[0].alive)
    table = {"calibration": "held_out", "wishes": [], "normal": [], "faults": []}
    path = ui.settings.home / "tables" / f"{ui.id}.json"
    path.write_text(json.dumps(table))
    assert ui.get(f"{at}/table").json() == table
    assert "Another calibration" not in ui.get(f"/threshold?run={ui.id}").text
    path.write_text(json.dumps(table | {"calibration": "older"}))
    assert "Another calibration" in ui.get(f"/threshold?run={ui.id}").text
    ui.post(f"{at}/work", {"what": "save", "per_hour": "0.5"})
    words = started(ui)
    assert words[3:5] == ["--false-alarms-per-hour", "0.5"]
    assert words[6].startswith("chosen-")
    for bad in ("", "0", "-1", "x", "1;rm"):
        assert ui.post(f"{at}/work", {"what": "save", "per_hour": bad}).status_code == 400


def test_events_are_shown_and_marked_by_the_command(ui):
    page = ui.get(f"/events?run={ui.id}").text
    assert "2.02" in page
    assert "&lt;b&gt;top" in page
    assert "00001_20261129T035704Z.jpg" in page
    ui.post(f"/events/{ui.id}/mark", {"of": "detect/today", "mark1": "normal", "mark2": ""})
    events = str(ui.run / "detect" / "today" / "events.csv")
    assert started(ui) == [
        *("review", "--workdir", str(ui.run), "--events", events, "--mark", "1=normal")
    ]
    ui.post(f"/events/{ui.id}/learn", {"what": "undo"})
    assert started(ui) == ["learn", "--workdir", str(ui.run), "--undo"]


def test_marks_that_are_there_are_shown_and_not_made_again(ui):
    lines = [
        {"start_s": 2.0, "end_s": 3.5, "mark": "fault"},
        {"start_s": 2.1, "end_s": 3.0, "mark": "normal"},  # the last one counts
    ]
    path = ui.run / "detect" / "today" / "marks.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    address = f"/events?run={ui.id}"
    assert 'value="normal" checked' in ui.get(address).text
    assert 'value="fault" checked' not in ui.get(address).text
    assert "2.0 to 3.5" not in ui.get(f"{address}&mark=none").text
    assert "2.0 to 3.5" in ui.get(f"{address}&mark=normal").text
    found = ui.post(f"/events/{ui.id}/mark", {"of": "detect/today", "mark1": "normal"})
    assert "nothing has a new mark" in found.text
    assert ui.post(f"/events/{ui.id}/mark", {"of": "detect/today", "mark1": "x"}).status_code == 400


def test_the_page_and_the_commands_agree_on_marks(ui):
    """What the page shows as the mark that counts is what `review` shows."""
    from ipad_jax.video.detector.marks import add_marks, listed

    events = ui.run / "detect" / "today" / "events.csv"
    for marks in ({1: "normal"}, {1: "fault", 2: "unsure"}, {2: "normal"}):
        add_marks(events, marks)
        from ipad_jax.web.runs import find_run

        shown = find_run(ui.settings.roots, ui.id).detection("detect/today").events()
        assert [event.mark for event in shown] == [event.mark for event in listed(events)]


def test_a_detection_has_its_verdict_and_files(ui):
    address = f"{ui.run_at}/detection?of=detect/today"
    page = ui.get(address).text
    assert "2 alarms" in page
    assert f"{ui.run_at}/file/detect/today/events.csv" in page
    for bad in ("detect", "../press", "eval/strict", "detect/none", "detect/today/alarms/x/y"):
        assert ui.get(f"{ui.run_at}/detection?of={bad}").status_code == 404


def test_only_cameras_of_the_list_are_watched(ui):
    assert "rtsp://10.0.0.5/stream" in ui.get(f"/live?run={ui.id}").text
    for bad in ("2", "-1", "", "http://169.254.169.254/", "rtsp://10.0.0.5/stream", "٠"):
        assert ui.post(f"/live/{ui.id}/start", {"camera": bad}).status_code == 400
    assert not ui.jobs.all()
    ui.post(f"/live/{ui.id}/start", {"camera": "0"})
    words = ["detect", "--workdir", str(ui.run), "--camera", "rtsp://10.0.0.5/stream"]
    assert started(ui) == words


def test_a_video_below_the_roots_is_played_as_live_and_no_other(ui, root):
    """Hidden ones, those of runs and those behind links are not offered, nor taken where asked for."""
    (root / "day").mkdir()
    for name in ("day/a.mp4", ".hidden.mp4", "runs/press/b.mp4", "day/notes.txt"):
        (root / name).write_bytes(b"x")
    (root.parent / "away.mp4").write_bytes(b"x")
    (root / "link.mp4").symlink_to(root.parent / "away.mp4")
    page = ui.get(f"/live?run={ui.id}").text
    assert re.findall(r'value="file:([^"]+)"', page) == ["0:day/a.mp4"]
    for bad in ("0:.hidden.mp4", "0:../away.mp4", "0:link.mp4", "0:day/notes.txt", "1:day/a.mp4"):
        assert ui.post(f"/live/{ui.id}/start", {"camera": f"file:{bad}"}).status_code == 404
    assert not ui.jobs.all()
    ui.post(f"/live/{ui.id}/start", {"camera": "file:0:day/a.mp4"})
    video = str(root.resolve() / "day" / "a.mp4")
    assert started(ui) == ["detect", "--workdir", str(ui.run), "--camera", video]


def test_an_object_is_prepared_and_trained_on(ui, root):
    source = root / "valve"
    source.mkdir()
    (source / "transforms.json").write_text("{}")
    page = ui.get("/data?root=0&at=valve").text
    assert re.search(r'value="object_folder" selected', page)
    fields = {"root": "0", "at": "valve", "kind": "object_folder", "what": "prepare", "name": "v1"}
    ui.post("/data/work", fields)
    words = ["prepare", "object_folder", "--source", str(source.resolve()), "--name", "v1"]
    assert started(ui) == [*words, "--data-dir", str(ui.settings.data_dir)]
    prepared = ui.settings.data_dir / "object_folder" / "v1" / "1.0.0"
    prepared.mkdir(parents=True)
    (prepared / "dataset_info.json").write_text("{}")
    wanted = {"dataset": "object_folder/v1", "purpose": "object", "name": "valve"}
    ui.post("/train/start", wanted)
    words = ui.jobs.all()[0].words
    assert words[:3] == ("train", "--config", "omnipose")
    assert {"--config.data.builder=object_folder", "--config.data.name=v1"} < set(words)


def test_a_camera_s_password_is_not_shown(ui):
    job = ui.jobs.start("x", ["detect", "--camera", "rtsp://me:geheim@10.0.0.5/s"], "watch")
    assert "geheim" not in ui.get(f"/jobs/{job.id}").text.partition("<pre")[0]
    assert "geheim" not in ui.get("/jobs").text


def test_a_watch_is_followed_row_by_row(ui):
    """Rows that are there, and the place to go on from; the row that is being written comes later, whole."""
    import asyncio

    from ipad_jax.web.runs import find_run
    from ipad_jax.web.streams import _follow_scores

    found = find_run(ui.settings.roots, ui.id).detection("detect/today")
    path = found.folder / "scores.csv"

    def first(place):
        async def collect():
            events = _follow_scores(found, place)
            kinds = {}
            async for text in events:
                kind = text.split("event: ")[1].split("\n")[0]
                kinds[kind] = (text.split("\n")[0], json.loads(text.split("data: ")[1]))
                if kind == "events":
                    return kinds

        return asyncio.run(collect())

    with path.open("a") as file:
        file.write("2,0.08,7.")
    sent = first(None)
    place, rows = sent["scores"]
    assert rows == [[0.0, 1.5, None, 0.0], [0.04, 9.1, 2.0, 1.0]]
    assert sent["events"][1] == 2
    with path.open("a") as file:
        file.write("5,,1,\n")
    assert first([int(place.removeprefix("id: "))])["scores"][1] == [[0.08, 7.5, None, 1.0]]


def test_a_detection_outside_of_the_run_is_none(ui, root):
    from ipad_jax.web.runs import find_run

    run = find_run(ui.settings.roots, ui.id)
    (ui.run / "detect" / "away").symlink_to(root.parent)
    with pytest.raises(NotThereError):
        run.detection("detect/away")
