"""`prepare video_folder --cycle auto`: phases in the dataset, the words of it, and the refusal."""

import re

import cv2
import numpy as np
import pytest
from footage import metadata, read_split, write_video

from ipad_jax.data_builders.video_folder.video_folder_dataset_builder import (
    Builder,
    VideoFolderConfig,
)
from ipad_jax.main import main
from ipad_jax.prepare.cycle import describe

LINE = "video_folder --name mine --source {}/source --data-dir {}/data --size 32x24 --cycle auto"


def draw(turns) -> list[np.ndarray]:
    """A disc that circles over a grid, BGR 48x64."""
    grid = np.full((48, 64, 3), 90, np.uint8)
    grid[::6], grid[:, ::8] = 60, 60
    out = []
    for turn in turns:
        angle = 2 * np.pi * turn
        place = (int(32 + 20 * np.cos(angle)), int(24 + 14 * np.sin(angle)))
        out.append(cv2.circle(grid.copy(), place, 7, (40, 200, 220), -1))
    return out


def write_file(path, pictures, fps=25.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 48))
    for picture in pictures:
        writer.write(picture)
    writer.release()


def write_folder(folder, pictures):
    folder.mkdir(parents=True)
    for i, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{i:03d}.jpg"), picture)


@pytest.fixture
def run(tmp_path, capsys):
    def call(line):
        status = main(["prepare", *(part.format(tmp_path) for part in line.split())])
        captured = capsys.readouterr()
        return status, (captured.out + captured.err).replace("\n", " ")

    return call


STARTS = (0.0, 0.4)  # of two videos, cycles
TURNS = [start + np.arange(150) / 36 for start in STARTS]


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["files", "frames"])
def test_phases_of_training_videos_are_found_and_stored(tmp_path, run, layout):
    line = LINE
    if layout == "files":
        for i, turns in enumerate(TURNS):
            write_file(tmp_path / "source" / "train" / "normal" / f"{i}.avi", draw(turns))
        write_file(tmp_path / "source" / "test" / "stuck" / "a.avi", draw([0.3] * 20))
    else:
        line += " --fps 25"
        for i, turns in enumerate(TURNS):
            write_folder(tmp_path / "source" / "training" / "frames" / f"{i:02d}", draw(turns))
        write_folder(tmp_path / "source" / "testing" / "frames" / "00", draw([0.3] * 20))
    status, text = run(line)
    assert status == 0
    assert "found a cycle of 1.4" in text
    assert re.search(r"confidence 0\.[789]", text)
    assert "--config video_folder:cycle" in text
    folder = tmp_path / "data" / "video_folder" / "mine_32x24_q95" / "1.0.0"
    train = read_split(folder, "train")
    phase = np.array([r["phase"] for r in train])
    apart = np.exp(2j * np.pi * (phase - np.concatenate(TURNS)))
    assert np.abs(np.angle(apart / apart.mean())).max() / (2 * np.pi) < 0.04
    numbers = {int(r["cycle"]) for r in train}  # 4.2 cycles, begun anywhere
    assert numbers in ({0, 1, 2, 3, 4}, {0, 1, 2, 3, 4, 5})
    for split, count in (("train", 2), ("test", 1)):
        videos = metadata(folder)["videos"][split]
        assert len(videos) == count
        assert all(v["cycle_frames"] == pytest.approx(36, abs=0.7) for v in videos)
    assert all(np.isnan(r["phase"]) and r["cycle"] == -1 for r in read_split(folder, "test"))
    again, text = run(line)
    assert again == 0
    assert "already prepared" in text
    assert "found a cycle of 1.4" in text  # it is in the metadata
    status, text = run(line.replace("auto", "1.44"))
    assert status == 1
    assert "was prepared with cycle='auto' (now 1.44)" in text
    about, text = run(line.replace("auto", "auto:1.5") + " --overwrite")
    assert about == 0
    assert "found a cycle of 1.4" in text


def test_footage_without_a_cycle_is_refused_and_nothing_is_left(tmp_path, run):
    turns = np.cumsum(np.random.default_rng(0).normal(0, 0.05, 200))
    write_file(tmp_path / "source" / "train" / "a.avi", draw(turns))
    status, text = run(LINE)
    assert status == 1
    assert "--cycle auto found no cycle in the 1 training videos" in text
    assert "--cycle auto:SECONDS if you know about how long it is" in text
    assert "Else leave --cycle away" in text
    assert not (tmp_path / "data").exists()


def test_no_training_footage_and_a_builder_without_a_measurement_say_so(tmp_path, run):
    write_video(tmp_path / "source" / "test" / "normal" / "a.avi", 30)
    status, text = run(LINE)
    assert status == 1
    assert "no training footage, so there is no cycle" in text
    config = VideoFolderConfig(
        scene="mine", width=32, height=24, source=str(tmp_path / "source"), cycle="auto"
    )
    builder = Builder(config=config, data_dir=tmp_path / "data")
    with pytest.raises(ValueError, match="measured by `ipad-jax prepare"):
        builder.download_and_prepare(download_dir=tmp_path / "downloads")


def test_the_sentence_says_seconds_and_what_it_rests_on():
    class Found:
        cycle_frames, lengths, explained = 60.0, np.array([50.0, 60.0, 70.0]), 0.812

    text = describe(Found(), 25.0)
    assert "cycle of 2.4 s (60.0 frames)" in text
    assert "3 whole cycles, most of 2.04 to 2.76 s; confidence 0.81" in text
    assert "check this length against the machine; if it is wrong" in text
    Found.explained = 0.4
    assert "LOW CONFIDENCE: this may be a multiple" in describe(Found(), 25.0)
    assert "LOW CONFIDENCE" not in describe(Found(), 25.0, is_known=True)
    assert "LOW CONFIDENCE" not in text
    Found.explained = 0.55  # a multiple of the true length was seen with it
    assert "LOW CONFIDENCE: this may be a multiple" in describe(Found(), 25.0)
