"""`ipad-jax prepare`: what it builds, what it says, and that a failure leaves nothing behind."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from footage import (
    metadata,
    picture,
    read_split,
    write_class,
    write_frames,
    write_labels,
    write_scene,
    write_video,
)
from process_group import wait_for_end

from ipad_jax.commands import prepare
from ipad_jax.data_builders import frames, pieces, streaming, video_files
from ipad_jax.data_builders.factory.factory_dataset_builder import FactoryConfig
from ipad_jax.data_builders.mad import mad_dataset_builder
from ipad_jax.data_builders.toys import write as toys_write
from ipad_jax.input.frames import dataset_dir
from ipad_jax.main import main
from ipad_jax.prepare import build
from ipad_jax.prepare.build import leftovers
from ipad_jax.prepare.narrate import describe
from ipad_jax.run.config import load_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path, capsys):
    """Runs a command line whose {} are tmp_path; gives the exit status and all that was printed."""

    def call(line: str) -> tuple[int, str]:
        status = main(["prepare", *(part.format(tmp_path) for part in line.split())])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return call


IPAD = "ipad --manual-dir {}/manual --data-dir {}/data --size 16 --scene S01"
FOOTAGE = "video_folder --name mine --source {}/source --data-dir {}/data --size 32x24"


def test_ipad(tmp_path, run):
    write_scene(tmp_path / "manual" / "S01", labels=(5, 7))
    status, text = run(IPAD)
    assert status == 0
    assert "train: 3 videos, 17 frames" in text
    assert "test: 2 videos, 9 frames" in text
    assert "label count disagrees with the frames in test 02: kept" in text
    assert len(read_split(tmp_path / "data" / "ipad" / "S01_16x16_q95" / "1.0.0", "train")) == 17


def test_nothing_is_left_outside_the_data_folder_and_no_bucket_is_asked(tmp_path, run, monkeypatch):
    """TFDS looks for a dataset that is not built in Google's bucket, through a temporary folder."""
    from tensorflow_datasets.core.utils import gcs_utils

    def ask(*_):
        raise AssertionError("a bucket was asked")

    for name in ("gcs_dataset_info_files", "is_dataset_on_gcs", "exists"):
        monkeypatch.setattr(gcs_utils, name, ask)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    write_scene(tmp_path / "manual" / "S01")
    assert run(IPAD)[0] == run(IPAD)[0] == run(IPAD + " --overwrite")[0] == 0
    write_class(tmp_path / "manual" / "MAD-Sim" / "07Owl")
    assert run(MAD)[0] == 0
    assert list(temporary.iterdir()) == []


def test_toys_are_rendered_and_stored_by_the_command(tmp_path, run, monkeypatch):
    write_toy = toys_write.write_toy

    def write_few(folder, name, seed, counts, *others):
        assert counts == (210, 24, 12)
        write_toy(folder, name, seed, (12, 2, 1), *others)

    monkeypatch.setattr(toys_write, "write_toy", write_few)
    status, text = run("toys --scene duck --data-dir {}/data --size 24")
    assert status == 0
    assert "train: 12 images" in text
    assert "--config omnipose --config.data.name=duck_24px" in text
    folder = tmp_path / "data/toys/duck_24px/1.0.0"
    train, test = read_split(folder, "train"), read_split(folder, "test")
    assert {record["image"].shape for record in (*train, *test)} == {(24, 24, 3)}
    assert [int(record["label"]) for record in test] == [1] * 3 + [0] * 2
    poses = np.stack([record["world_from_camera"] for record in train])
    assert np.isfinite(poses).all()
    assert run("toys --scene dodo --data-dir {}/data")[0] == 2


def test_all_of_mad_is_the_half_that_is_there(tmp_path, run):
    for number in range(10):
        write_class(tmp_path / "manual" / "MAD-Real" / f"toy{number}", train=2, real=True)
    status, text = run(MAD.replace("07Owl", "all"))
    assert status == 0
    assert "01Gorilla" not in text
    folders = sorted(path.name for path in (tmp_path / "data/mad").glob("[!.]*"))
    assert folders == [f"real{number:02d}_20x20_q95" for number in range(1, 11)]
    assert "train --config bank --config.data.builder=mad --config.data.name=real01" in text
    write_class(tmp_path / "manual" / "MAD-Sim" / "07Owl")
    assert "train --config omnipose:mad --config.data.name=07Owl" in run(MAD)[1]


def test_python_builds_the_same_without_a_word(tmp_path, run, capsys):
    write_scene(tmp_path / "manual" / "S01", labels=(5, 7))
    run(IPAD)
    builder_class = build.load_builder_class("ipad")
    (config,) = build.scene_configs(builder_class, "ipad", ["S01"], width=16, height=16)
    capsys.readouterr()
    arguments = (builder_class, config, str(tmp_path / "other"))
    builder, is_new = build.prepare(*arguments, manual_dir=tmp_path / "manual")
    assert is_new
    assert not build.prepare(*arguments, manual_dir=tmp_path / "manual")[1]
    assert capsys.readouterr() == ("", "")
    assert contents(tmp_path / "data") == contents(tmp_path / "other")
    assert "train: 3 videos, 17 frames" in describe(builder)


def test_again_says_that_it_is_there(tmp_path, run):
    write_scene(tmp_path / "manual" / "S01")
    run(IPAD)
    folder = tmp_path / "data" / "ipad" / "S01_16x16_q95" / "1.0.0"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    status, text = run(IPAD)
    assert status == 0
    assert f"already prepared: {folder}" in text.replace("\n", "")
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_two_sizes_and_a_quality_lie_side_by_side(tmp_path, run):
    write_scene(tmp_path / "manual" / "S01")
    assert run(IPAD)[0] == run(IPAD + " --size 32x16")[0] == run(IPAD + " --quality 50")[0] == 0
    names = {path.name for path in (tmp_path / "data" / "ipad").iterdir() if path.name[0] != "."}
    assert names == {"S01_16x16_q95", "S01_32x16_q95", "S01_16x16_q50"}
    wide = read_split(tmp_path / "data" / "ipad" / "S01_32x16_q95" / "1.0.0", "test")
    assert wide[0]["image"].shape == (16, 32, 3)


def test_predefined_size_and_several_scenes(tmp_path, run):
    for name in ("S01", "R02"):
        write_scene(tmp_path / "manual" / "IPAD_dataset" / name, train=(3, 3), test=(3,))
    line = "ipad --manual-dir {}/manual --data-dir {}/data --scene S01 R02"
    assert run(line)[0] == 0
    for name in ("S01", "R02"):
        assert (tmp_path / "data" / "ipad" / f"{name}_256x256_q95" / "1.0.0").is_dir()


def test_video_folder_of_frames(tmp_path, run):
    write_scene(tmp_path / "source", labels=(None, None))
    status, text = run(FOOTAGE + " --fps 10")
    assert status == 0
    assert "without labels 2 videos" in text
    assert metadata(tmp_path / "data" / "video_folder" / "mine_32x24_q95" / "1.0.0")["kinds"]


def test_video_folder_of_files(tmp_path, run):
    write_video(tmp_path / "source" / "train" / "normal" / "a.avi", 10)
    write_video(tmp_path / "source" / "test" / "stuck" / "a.avi", 5)
    status, _ = run(FOOTAGE + " --cycle 0.2")
    assert status == 0
    folder = tmp_path / "data" / "video_folder" / "mine_32x24_q95" / "1.0.0"
    phases = [float(r["phase"]) for r in read_split(folder, "train")]
    np.testing.assert_allclose(phases, [0, 0.2, 0.4, 0.6, 0.8] * 2, atol=1e-6)


def test_defaults_fit_the_configs():
    for name in ("ipad", "video_folder", "factory"):
        assert prepare.DEFAULT_SIZES[name] == load_config(name, {}).data.size


def test_the_next_command_is_said_and_reads_what_was_prepared(tmp_path, run):
    write_video(tmp_path / "source" / "train" / "a.avi", 6)
    _, text = run(FOOTAGE.replace("32x24", "32") + " --cycle 0.2 --quality 90")
    line = next(line for line in text.splitlines() if line.startswith("next: "))
    words = line.split()[1:]
    assert words[:4] == ["ipad-jax", "train", "--config", "video_folder:cycle"]
    leaves = dict(word.removeprefix("--config.").split("=") for word in words[4:-2])
    typed = {name: int(text) if text.isdigit() else text for name, text in leaves.items()}
    data = load_config(words[3], typed).data
    folder = dataset_dir(data.data_dir, data.builder, data.name, data.size, data.quality)
    assert folder.exists()


def test_the_next_command_of_another_seed_names_the_variant():
    config = FactoryConfig(device="lift", width=64, height=64, seed=3)
    info = SimpleNamespace(
        splits={"train": None}, metadata={"videos": {"train": [{"cycle_frames": 9.0}]}}
    )
    builder = SimpleNamespace(builder_config=config, info=info)
    assert prepare.next_command(builder, "factory", prepare.DEFAULT_DATA_DIR) == (
        "ipad-jax train --config factory --config.data.name=lift_synthetic "
        "--config.data.variant=seed3 --workdir runs/lift_synthetic"
    )


def test_test_videos_are_counted_by_what_their_labels_say(tmp_path, run):
    test = tmp_path / "source" / "test"
    for name in ("normal/a", "normal/b", "jam/a", "jam/b", "off/c", "d"):
        write_video(test / f"{name}.avi", 5)
    np.save(test / "off" / "c.npy", [0, 0, 0, 1, 1])
    _, text = run(FOOTAGE)
    line = next(line for line in text.splitlines() if "test: " in line)
    assert line.startswith("  test: 6 videos, 30 frames: ")
    assert set(line.split(": ")[2].split("; ")) == {
        "normal 2 videos",
        '"jam" 2 videos (10 frames, all anomalous)',
        '"off" 1 video (5 frames, 2 anomalous)',
        "without labels 1 video",
    }
    assert "next:" not in text  # nothing to train on


def test_faults_of_no_known_kind(tmp_path, run):
    write_scene(tmp_path / "manual" / "S01")
    assert "frames: with faults 2 videos (9 frames, 4 anomalous)" in run(IPAD)[1]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--fps 10 --cycle 0.3", "cycle=None (now 0.3)"),
        ("--fps 12", "fps=10.0 (now 12.0)"),
        ("--fps 10", "files=10 (now 11), bytes="),
    ],
)
def test_another_request_is_not_taken_for_the_old_one(tmp_path, run, option, said):
    scene = write_scene(tmp_path / "source", train=(6,), test=(3,))
    assert run(FOOTAGE + " --fps 10")[0] == 0
    assert run(FOOTAGE + " --fps 10")[0] == 0
    if said.startswith("files"):
        cv2.imwrite(str(scene / "training" / "frames" / "01" / "006.jpg"), picture(6))
    status, text = run(f"{FOOTAGE} {option}")
    assert status == 1
    assert f"was prepared with {said}" in text
    assert "--overwrite" in text


def test_overwrite_replaces_what_was_there_only_by_a_whole_dataset(tmp_path, run):
    scene = write_scene(tmp_path / "source", train=(6,), test=(3,))
    folder = tmp_path / "data" / "video_folder" / "mine_32x24_q95" / "1.0.0"
    assert run(FOOTAGE + " --fps 10")[0] == 0
    old = {path.name: path.read_bytes() for path in folder.iterdir()}
    image = scene / "training" / "frames" / "01" / "006.jpg"
    image.write_text("no picture")
    assert run(FOOTAGE + " --fps 10 --overwrite")[0] == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == old
    cv2.imwrite(str(image), picture(6))
    status, text = run(FOOTAGE + " --fps 10 --overwrite")
    assert status == 0
    assert "train: 1 video, 7 frames" in text
    assert len(read_split(folder, "train")) == 7
    assert [path.name for path in folder.parent.iterdir()] == ["1.0.0"]
    assert run(FOOTAGE + " --fps 10")[0] == 0


def test_only_the_disks_errors_are_said_to_be_the_disks(tmp_path, run, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(video_files, "read_folder", fail)
    write_video(tmp_path / "source" / "train" / "a.avi", 6)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        run(FOOTAGE)


def truncate(path: Path, share: float = 0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps([0, 1]))


# What is broken in a good scene, and what the command then says.
BROKEN = {
    "no scene": (lambda s: s.rename(s.with_name("S02")), "S01 was not found; looked for"),
    "no labels": (
        lambda s: (s / "test_label" / "002.npy").unlink(),
        "no labels for test folder 02",
    ),
    "label without folder": (lambda s: write_labels(s, 7, [0]), "007.npy: labels a test folder"),
    "gap": (lambda s: (s / "training/frames/01/002.jpg").unlink(), "01: gap in frame numbers"),
    "empty folder": (lambda s: (s / "training/frames/09").mkdir(), "09: holds no frames"),
    "zero bytes": (
        lambda s: (s / "testing/frames/02/003.jpg").write_bytes(b""),
        "003.jpg: is empty (0 bytes)",
    ),
    "truncated": (lambda s: truncate(s / "testing/frames/02/003.jpg"), "003.jpg: truncated JPEG"),
    "not an image": (
        lambda s: (s / "testing/frames/02/003.jpg").write_text("no picture at all"),
        "003.jpg: not an image",
    ),
    "labels of objects": (
        lambda s: pickled(s / "test_label/001.npy"),
        "001.npy: not a plain array",
    ),
    "labels not 0/1": (
        lambda s: write_labels(s, 1, [0, 1, 2, 0, 0]),
        "001.npy: shape (5,), values",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_bad_input_is_named_and_leaves_nothing_behind(tmp_path, run, case):
    damage, message = BROKEN[case]
    damage(write_scene(tmp_path / "manual" / "IPAD_dataset" / "S01"))
    status, text = run(IPAD)
    assert status == 1
    assert message in text
    assert "Traceback" not in text
    assert not (tmp_path / "data").exists()


def test_failure_keeps_what_was_prepared_before(tmp_path, run):
    scene = write_scene(tmp_path / "manual" / "S01")
    assert run(IPAD)[0] == 0
    kept = sorted((tmp_path / "data").rglob("*"))
    truncate(scene / "training" / "frames" / "02" / "3.jpg")
    assert run(IPAD + " --size 24")[0] == 1
    assert sorted((tmp_path / "data").rglob("*")) == kept


def test_what_a_killed_run_left_is_named(tmp_path, run):
    write_scene(tmp_path / "manual" / "S01")
    left = tmp_path / "data" / "ipad" / "S01_16x16_q95" / "incomplete.ABC123_1.0.0"
    left.mkdir(parents=True)
    said = (
        f"{left} was left by a run that was killed, or is being written; delete it if no `ipad-jax"
    )
    for _ in range(2):  # also where the dataset is there by now
        status, text = run(IPAD)
        assert status == 0
        assert said in text


def test_a_rebuild_killed_between_its_two_renames_says_where_the_old_dataset_is(tmp_path):
    place = tmp_path / "1.0.0"
    old = tmp_path / "incomplete.77" / "replaced"
    old.mkdir(parents=True)
    (line,) = leftovers(place)
    assert f"move {old} to {place} first; delete it" in line
    place.mkdir()
    (line,) = leftovers(place)
    assert "move" not in line


def test_what_was_not_recorded_alike_is_said():
    info = SimpleNamespace(metadata={"notes": ["1 of 4 videos differ in rate"]}, splits={})
    assert describe(SimpleNamespace(info=info)) == ["note: 1 of 4 videos differ in rate"]


def test_one_bad_scene_does_not_stop_the_next(tmp_path, run):
    write_scene(tmp_path / "manual" / "S01")
    status, text = run(IPAD.replace("S01", "S02 S01"))
    assert status == 1
    assert "ipad/S02_16x16_q95 was not built" in text
    assert (tmp_path / "data" / "ipad" / "S01_16x16_q95" / "1.0.0").is_dir()


@pytest.mark.parametrize(("made", "message"), [(False, "no such folder"), (True, "is empty")])
def test_manual_dir_missing_or_empty_shows_the_tree(tmp_path, run, made, message):
    if made:
        (tmp_path / "manual").mkdir()
    status, text = run(IPAD)
    assert status == 1
    assert f"--manual-dir {tmp_path}/manual: {message}" in text
    assert "training/frames/<NN>/<frame>.jpg" in text
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("made", "message"), [(False, "no such folder"), (True, "neither layout")])
def test_source_missing_or_empty_shows_the_tree(tmp_path, run, made, message):
    if made:
        (tmp_path / "source").mkdir()
    status, text = run(FOOTAGE)
    assert status == 1
    assert message in text
    assert "train/normal/<name>.mp4" in text
    assert not (tmp_path / "data").exists()


def test_unknown_scene_says_the_choices(tmp_path, run):
    (tmp_path / "manual" / "S01").mkdir(parents=True)
    status, text = run(IPAD.replace("S01", "S99"))
    assert status == 2
    assert "ipad has no scene S99; choose from R01, R02" in text


@pytest.mark.parametrize("option", ["--size 0", "--size 1x2x3", "--size big", "--quality 101"])
def test_wrong_size_or_quality(tmp_path, run, option):
    write_scene(tmp_path / "manual" / "S01")
    assert run(f"{IPAD} {option}")[0] == 2
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("option", ["--cycle 0", "--cycle -2", "--cycle nan", "--fps 0", "--fps x"])
def test_wrong_timing(tmp_path, run, option):
    write_scene(tmp_path / "source")
    assert run(f"{FOOTAGE} {option}")[0] == 2
    assert not (tmp_path / "data").exists()


def test_frame_folders_need_a_rate(tmp_path, run):
    write_scene(tmp_path / "source")
    status, text = run(FOOTAGE)
    assert status == 1
    assert "--fps" in text


def test_a_video_that_stops_early(tmp_path, run):
    truncate(write_video(tmp_path / "source" / "train" / "normal" / "a.avi", 60), 0.6)
    status, text = run(FOOTAGE)
    assert status == 1
    assert "a.avi: stops early" in text
    assert not (tmp_path / "data").exists()


def test_data_dir_that_cannot_be_made(tmp_path, run):
    write_scene(tmp_path / "manual" / "S01")
    (tmp_path / "data").write_text("a file where a folder should be")
    status, text = run(IPAD)
    assert status == 1
    assert str(tmp_path / "data") in text.replace("\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_said_and_leaves_nothing_behind(tmp_path, workers):
    write_scene(tmp_path / "manual" / "S01", (30, 30))
    line = IPAD.format(tmp_path, tmp_path) + f" --workers {workers}"
    # Files that cannot grow beyond 1,000 bytes stand in for a full disk.
    program = (
        "import resource, sys; from ipad_jax.data_builders import streaming; "
        "from ipad_jax.main import main; "
        "streaming.MIN_FRAMES_FOR_WORKERS = 0; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "
        f"sys.exit(main(['prepare', *{line.split()!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "could not write to" in done.stderr or "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


MAD = "mad --manual-dir {}/manual --data-dir {}/data --size 20 --scene 07Owl"


def write_files(source: Path) -> None:
    write_video(source / "train" / "normal" / "a.avi", 30)
    write_video(source / "train" / "normal" / "b.mp4", 8)
    write_video(source / "test" / "jam" / "a.avi", 12)
    write_video(source / "test" / "normal" / "c.avi", 5)


# What is drawn, and the command that builds it.
SOURCES = {
    "ipad": (lambda p: write_scene(p / "manual" / "S01", (30, 9, 30), (12, 5), (12, 7)), IPAD),
    "frames": (lambda p: write_scene(p / "source", (30, 9), (12, 5)), FOOTAGE + " --fps 10"),
    "files": (lambda p: write_files(p / "source"), FOOTAGE + " --fps 20 --cycle 0.3"),
    "mad": (lambda p: write_class(p / "manual" / "MAD-Sim" / "07Owl"), MAD),
}


@pytest.fixture
def small_pieces(monkeypatch):
    """Much work for the workers in few frames."""
    monkeypatch.setattr(frames, "PIECE_FRAMES", 4)
    monkeypatch.setattr(mad_dataset_builder, "PIECE_FRAMES", 4)
    monkeypatch.setattr(streaming, "MIN_FRAMES_FOR_WORKERS", 0)


@pytest.mark.slow
@pytest.mark.parametrize("case", SOURCES)
def test_workers_build_the_same_bytes(tmp_path, run, case, small_pieces, monkeypatch):
    write, line = SOURCES[case]
    write(tmp_path)
    started = []
    start = pieces.Worker.__init__
    monkeypatch.setattr(pieces.Worker, "__init__", lambda self: started.append(1) or start(self))
    status, text = run(line + " --workers 1")
    assert (status, started) == (0, [])
    status, again = run(line.replace("{}/data", "{}/other") + " --workers 2")
    assert (status, len(started)) == (0, 4)  # two for each split
    assert again.replace("/other", "/data") == text
    built = contents(tmp_path / "data")
    assert built == contents(tmp_path / "other")
    assert any("array_record" in path.name for path in built)


def contents(root: Path) -> dict[Path, bytes]:
    """Every file below a folder."""
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_another_process_builds_the_same_bytes(tmp_path, run):
    write_scene(tmp_path / "manual" / "S01")
    assert run(IPAD)[0] == 0
    line = IPAD.replace("{}/data", "{}/other").format(tmp_path, tmp_path)
    subprocess.run(
        [sys.executable, "-m", "ipad_jax.main", "prepare", *line.split()], check=True, cwd=ROOT
    )
    assert contents(tmp_path / "data") == contents(tmp_path / "other")


def test_little_work_starts_no_workers(tmp_path, run, monkeypatch):
    monkeypatch.setattr(pieces, "Worker", None)
    write_scene(tmp_path / "manual" / "S01")
    assert run(IPAD + " --workers 8")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("case", ["truncated", "not an image"])
def test_bad_input_is_said_alike_by_workers(tmp_path, run, case, small_pieces):
    damage, _ = BROKEN[case]
    damage(write_scene(tmp_path / "manual" / "IPAD_dataset" / "S01"))
    (status, alone), (status_too, together) = run(IPAD + " --workers 1"), run(IPAD + " --workers 2")
    assert status == status_too == 1
    assert alone == together
    assert not (tmp_path / "data").exists()
    assert not multiprocessing.active_children()


def test_a_video_that_stops_early_is_said_by_workers(tmp_path, run, small_pieces):
    write_files(tmp_path / "source")
    truncate(write_video(tmp_path / "source" / "train" / "normal" / "aa.avi", 60), 0.6)
    status, text = run(FOOTAGE + " --workers 2")
    assert status == 1
    assert "aa.avi: stops early" in text
    assert "Traceback" not in text
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("option", ["--workers 0", "--workers -1", "--workers many"])
def test_wrong_number_of_workers(tmp_path, run, option):
    write_scene(tmp_path / "manual" / "S01")
    assert run(f"{IPAD} {option}")[0] == 2


def start_long_run(tmp_path: Path) -> subprocess.Popen:
    """Starts what takes two workers ten seconds, in a group of its own as a shell does, and waits
    until it has begun to write."""
    write_frames(tmp_path / "source" / "training" / "frames" / "01", 1500)
    line = FOOTAGE.replace("32x24", "1800").format(tmp_path, tmp_path) + " --fps 10 --workers 2"
    # a shell's background job ignores Ctrl-C, and so would its children; what is handled here is not
    # ignored there
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "ipad_jax.main", "prepare", *line.split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, before)
    pieces = "*/incomplete*/pieces-train/0000000[0-9]"
    while process.poll() is None and not list((tmp_path / "data/video_folder").glob(pieces)):
        time.sleep(0.02)
    assert process.poll() is None, "it ended before it was seen to write"
    return process


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "send"), [(signal.SIGTERM, os.kill), (signal.SIGINT, os.killpg)], ids=["kill", "^C"]
)
def test_an_interrupted_run_leaves_nothing_behind(tmp_path, number, send):
    process = start_long_run(tmp_path)
    send(process.pid, number)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert b"interrupted" in errors
    assert b"Traceback" not in errors
    assert not (tmp_path / "data").exists()
    wait_for_end(process.pid)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds workers in /proc")
def test_a_killed_worker_is_named_and_nothing_left_behind(tmp_path):
    process = start_long_run(tmp_path)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [
        int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == 1, errors
    said = f"worker process {workers[1]} was killed by SIGKILL while it encoded video 01, frames "
    assert said.encode() in errors
    assert b"Traceback" not in errors
    assert not (tmp_path / "data").exists()
    wait_for_end(process.pid)
