"""What a page gives to take away or to look at: a run folder as a zip, pictures of a table, marked images."""

import base64
import io
import json
import zipfile

import pytest
from test_page_work import started

from ipad_jax.image.marks import add_marks, listed, write_source
from ipad_jax.web import streams
from ipad_jax.web.archive import PIECE_BYTES, zipped
from ipad_jax.web.runs import find_run


@pytest.fixture
def image_run(ui, root):
    """The run as one of images that has judged three files, of which two are alike."""
    config = json.loads((ui.run / "config.json").read_text())
    (ui.run / "config.json").write_text(json.dumps(config | {"task": "image.bank"}))
    parts = root / "parts"
    parts.mkdir()
    for name, content in (("a.png", b"one"), ("b.png", b"two"), ("c.png", b"two")):
        (parts / name).write_bytes(content)
    folder = ui.run / "detect" / "parts"
    (folder / "overlays").mkdir(parents=True)
    (folder / "results.csv").write_text(
        "image,score,alarm,threshold,x,y,seconds,problem,note\n"
        "a.png,1.5,0,2,1,1,0.1,,\nb.png,3.5,1,2,1,1,0.1,,\nc.png,3.0,1,2,1,1,0.1,,\n"
    )
    (folder / "overlays" / "b.png.jpg").write_bytes(b"heat")
    (folder / "overlays" / "b.png.rebuilt.jpg").write_bytes(b"made")
    write_source(folder, parts)
    return folder


def test_a_run_folder_is_taken_away_whole_and_no_link_with_it(ui, root):
    (ui.run / "checkpoints").mkdir()
    (ui.run / "checkpoints" / "weights").write_bytes(bytes(range(256)) * (PIECE_BYTES // 100))
    (ui.run / "away").symlink_to(root.parent)
    (ui.run / "away.txt").symlink_to(root.parent / "secret.txt")
    found = ui.get(f"{ui.run_at}/archive.zip")
    assert found.headers["content-disposition"] == 'attachment; filename="press.zip"'
    with zipfile.ZipFile(io.BytesIO(found.content)) as archive:
        assert archive.testzip() is None
        packed = {name: archive.read(name) for name in archive.namelist()}
    files = [p for p in ui.run.rglob("*") if p.is_file() and not p.is_symlink()]
    assert packed == {f"press/{p.relative_to(ui.run)}": p.read_bytes() for p in files}


def test_a_large_file_is_sent_in_pieces_and_one_that_goes_is_left_out(tmp_path):
    (tmp_path / "large").write_bytes(bytes(5 * PIECE_BYTES))
    (tmp_path / "zone").write_bytes(b"z")
    pieces = zipped(tmp_path)
    first = next(pieces)
    (tmp_path / "zone").unlink()
    rest = list(pieces)
    assert max(map(len, [first, *rest])) < PIECE_BYTES + 1000
    with zipfile.ZipFile(io.BytesIO(first + b"".join(rest))) as archive:
        assert [name.rpartition("/")[2] for name in archive.namelist()] == ["large"]


def test_an_archive_takes_the_place_of_a_stream(ui, monkeypatch):
    monkeypatch.setattr(streams, "MOST_STREAMS", 0)
    assert ui.get(f"{ui.run_at}/archive.zip").status_code == 503


def test_images_are_shown_with_what_they_were_compared_with_and_marked_by_the_command(
    ui, image_run
):
    page = ui.get(f"{ui.run_at}/detection?of=detect/parts").text
    for name in ("b.png.jpg", "b.png.rebuilt.jpg"):
        assert f"{ui.run_at}/file/detect/parts/overlays/{name}" in page
        assert ui.get(f"{ui.run_at}/file/detect/parts/overlays/{name}").status_code == 200
    alarms = ui.get(f"/events?run={ui.id}").text
    assert "c.png: alarm" in alarms
    assert "a.png" not in alarms
    ui.post(f"/events/{ui.id}/mark", {"of": "detect/parts", "mark2": "normal", "mark1": ""})
    results = str(ui.run / "detect" / "parts" / "results.csv")
    assert started(ui)[1:] == [
        *("--workdir", str(ui.run), "--events", results, "--mark", "2=normal")
    ]


def test_an_image_that_was_not_judged_is_no_all_clear(ui, image_run):
    head = "image,score,alarm,threshold,x,y,seconds,problem,note\n"
    below, good = "a.png,,,2,-1,-1,0.1,,not inspected: why\n", "b.png,1.5,0,2,1,1,0.1,,a note\n"
    address = f"{ui.run_at}/detection?of=detect/parts"
    (image_run / "results.csv").write_text(head + good)
    assert 'class="verdict calm">No alarm' in ui.get(address).text
    (image_run / "results.csv").write_text(head + good + below)
    page = ui.get(address).text
    assert "0 of 2 images raise an alarm; 1 not judged" in page
    assert "calm" not in page
    assert page.index("a.png: not judged (not inspected: why)") < page.index("b.png: no alarm")
    assert "(a note)" in page
    (image_run / "results.csv").write_text(head + below)
    page = ui.get(address).text
    assert "Not judged: not inspected: why" in page
    assert "No alarm" not in page


def test_the_page_and_the_commands_agree_on_marks_of_images(ui, image_run):
    """Also of copies, whose last mark counts."""
    results = image_run / "results.csv"
    for marks in ({2: "normal"}, {1: "fault", 3: "unsure"}, {2: "fault"}):
        add_marks(results, marks)
        shown = find_run(ui.settings.roots, ui.id).detection("detect/parts").images()
        found = {int(row["number"]): row["mark"] for row in shown}
        assert found == {n: image.mark for n, image in enumerate(listed(results), 1)}
    marked = ui.get(f"/events?run={ui.id}&mark=fault").text
    assert "a.png" in marked  # no alarm, but somebody said so
    assert "c.png" not in marked


def test_pictures_of_a_table_are_served_one_by_one(ui):
    path = ui.settings.home / "tables" / f"{ui.id}.json"
    path.parent.mkdir(parents=True)
    pictures = [base64.b64encode(b"jpeg").decode(), None, "no base64 !", 3]
    path.write_text(json.dumps({"faults": [{"picture": one} for one in pictures]}))
    shown = [ui.get(f"/threshold/{ui.id}/picture/{i}") for i in range(5)]
    assert [one.status_code for one in shown] == [200, 404, 404, 404, 404]
    assert shown[0].content == b"jpeg"
    sent = ui.get(f"/threshold/{ui.id}/table").json()["faults"]
    assert [fault["picture"] for fault in sent][:2] == [True, False]
    for damaged in ("{", '{"faults": 3}', '{"faults": [3]}', '{"tested": {}}'):
        path.write_text(damaged)
        assert ui.get(f"/threshold/{ui.id}/picture/0").status_code == 404


def test_a_threshold_page_counts_what_each_share_catches(ui, image_run):
    """By kind at the threshold in force, and of all for each share that may be chosen."""
    rows = [("good", 1.0), ("good", 2.5), ("spot", 2.0), ("spot", 4.0), ("scratch", 9.0)]
    tested = [{"name": f"{k}{s}", "kind": k, "score": s, "picture": None} for k, s in rows]
    wishes = [
        {"share": share, "threshold": threshold, "bound": 0.2, "above": 0}
        for share, threshold in ((0.01, 5.0), (0.1, 2.2))
    ]
    table = {"normal": [1.0, 2.0], "share": 0.1, "threshold": 2.2, "wishes": wishes}
    path = ui.settings.home / "tables" / f"{ui.id}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(table | {"tested": [*tested, 3, {"score": None}]}))
    page = ui.get(f"/threshold?run={ui.id}").text
    assert "1 of 3 defective caught, 0 of 2 good ones" in page
    assert "2 of 3 defective caught, 1 of 2 good ones" in page
    for line in ('data-kind="spot" aria-live="polite">1 of 2', 'data-kind="scratch"'):
        assert line in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rate": "3e-4", "batch_size": "4"}, ["optim.lr=0.0003", "batch_size=4"]),
        ({"purpose": "autoencoder", "loss": "ssim"}, ["model.loss=ssim"]),
        ({"purpose": "pca", "loss": "ssim"}, None),
        ({"purpose": "autoencoder", "loss": "l1"}, None),
        ({"rate": "fast"}, None),
        ({"batch_size": "0"}, None),
    ],
)
def test_settings_of_a_training_are_leaves_of_its_config(ui, prepared, fields, words):
    wanted = {"dataset": "image_folder/bottle", "purpose": "pca", "name": "one"} | fields
    assert ui.post("/train/start", wanted).status_code == (400 if words is None else 303)
    for leaf in words or ():
        assert f"--config.{leaf}" in started(ui)


def test_leaves_that_the_page_sets_are_in_every_config():
    from ipad_jax.run.config import load_config
    from ipad_jax.web.forms import LOSSES, PURPOSES, WITH_LOSS

    for purpose in PURPOSES:
        config = load_config(purpose.config)
        assert {"batch_size", "total_steps", "max_seconds"} <= set(config)
        assert "lr" in config.optim
        assert purpose.key != WITH_LOSS or config.model.loss in LOSSES
