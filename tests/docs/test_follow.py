"""The documents are followed: the method of docs/develop.md, and the commands of docs/use.md."""

import json
import re
import shlex
from fnmatch import fnmatch

import cv2
import numpy as np
import pytest
from drawn_images import spot, stripes, write, write_folder
from moving import write_moving
from pages import ROOT, blocks, commands

from ipad_jax.commands.detect import ALARM
from ipad_jax.main import main
from ipad_jax.run.config import load_config
from ipad_jax.training.loop import train
from ipad_jax.video.evaluation import evaluate


@pytest.mark.slow
def test_a_method_of_your_own_trains_and_is_judged(tmp_path, monkeypatch):
    (code,) = (
        block.code
        for block in blocks((ROOT / "docs" / "develop.md").read_text())
        if "my_method.py" in block.language
    )
    assert code.count("\n") <= 50
    (tmp_path / "my_method.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    write_moving(tmp_path / "data", "factory", "arm_synthetic", length=36)
    overrides = {"data.data_dir": str(tmp_path / "data"), "total_steps": 2, "num_devices": 1}
    config = load_config(f"{tmp_path / 'my_method.py'}:tiny", overrides)
    summary = train(config, tmp_path / "run")
    assert (summary.reason, summary.step) == ("finished", 2)
    metrics = evaluate(tmp_path / "run", report=False).metrics
    assert 0 <= metrics["auc_micro"] <= 1
    assert not (unknown := undocumented(tmp_path / "run")), f"say in docs/run_folder.md: {unknown}"
    # Its own unscored frame: the first of each clip is predicted from none.
    assert metrics["left_out"]["unscored"] > 0


def undocumented(run):
    """Files of a run folder that the table of docs/run_folder.md does not have."""
    table = (ROOT / "docs" / "run_folder.md").read_text().split("## metrics.json")[0]
    rows = re.findall(r"^\|([^|]*)\|", table, re.M)
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    # STEP, NAME, SOURCE stand for names; a folder for everything in it.
    patterns = [re.sub(r"[A-Z]{4,}", "*", name) + "*" * name.endswith("/") for name in names]
    files = [path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()]
    return [file for file in files if not any(fnmatch(file, pattern) for pattern in patterns)]


IMAGES = {"bottle", "runs/bottle", "bottle/test"}  # arguments of commands for images of parts
# Those of commands for objects, which have their own tests, and of the page, which serves.
OTHERS = {*IMAGES, "valve", "runs/valve", "toys", "ui"}
# What makes a page's command small enough for a test; everything else is typed as it stands.
SMALLER = {
    "--size 128": "--size 32 --data-dir data",
    "--config video_folder": "--config video_folder:tiny --config.total_steps=2"
    " --config.data.data_dir=data",
}


SMALLER_IMAGES = {
    "--name bottle": "--name bottle --data-dir data",
    "--config bank": "--config bank:tiny --config.data.data_dir=data",
    "--format onnx": "--format stablehlo",  # jax2onnx is not among the tests' packages
    "model.onnx": "model.stablehlo",
}


def write_video(path, num_frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 48))
    for i in range(num_frames):
        picture = np.full((48, 64, 3), 60, np.uint8)
        left = abs(i % 40 - 20) * 2
        picture[10:26, left : left + 16] = 255
        writer.write(picture)
    writer.release()


@pytest.mark.slow
def test_the_commands_for_your_own_footage(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "footage" / "train" / "normal" / "long.mp4", 200)
    write_video(tmp_path / "footage" / "test" / "normal" / "a.mp4", 61)
    write_video(tmp_path / "footage" / "test" / "fault" / "b.mp4", 61)
    write_video(tmp_path / "new.mp4", 61)
    typed = [c for c in commands((ROOT / "docs" / "use.md").read_text()) if c[0] == "ipad-jax"]
    typed = [c for c in typed if "--camera" not in c and not set(c) & OTHERS]
    # what a person says of events that are there; tests/video/detector/test_learn.py
    # photos of a board; tests/prepare/test_board_poses.py
    typed = [c for c in typed if c[1] not in ("review", "learn", "poses")]
    write_video(tmp_path / "monday.mp4", 81)
    assert [c[1] for c in typed] == [
        "validate",
        "prepare",
        "train",
        "calibrate",
        "evaluate",
        "detect",
    ]
    for command in typed:
        line = shlex.join(command[1:])
        for long, short in SMALLER.items():
            line = line.replace(long, short)
        assert main(shlex.split(line)) == 0, f"ipad-jax {line}\n{capsys.readouterr()}"
    metrics = json.loads((tmp_path / "runs/press7/eval/strict/metrics.json").read_text())
    assert metrics["num_videos"] == 2
    assert (tmp_path / "runs/press7/detect/new/events.csv").exists()
    assert not undocumented(tmp_path / "runs" / "press7")


@pytest.mark.slow
def test_the_commands_for_your_own_images(tmp_path, monkeypatch, capsys):
    """From a folder to a verdict, its correction, and a file that judges alone."""
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "bottle", 12, 4, 4)
    for number in range(8):
        write(tmp_path / "good_parts_of_tuesday" / f"{number}.png", stripes(300 + number))
        write(tmp_path / "today" / f"{number}.png", stripes(400 + number))
    write(tmp_path / "today" / "6.png", spot(406)[0])  # the seventh
    typed = [c for c in commands((ROOT / "docs" / "use.md").read_text()) if set(c) & IMAGES]
    train = [c[1] for c in typed].index("train")
    assert {c[1] for c in typed} == {
        *("validate", "prepare", "train", "evaluate", "detect"),
        *("calibrate", "review", "learn", "export"),
    }
    for number, command in enumerate(typed):
        line = shlex.join(command[1:])
        for long, short in SMALLER_IMAGES.items():
            line = line.replace(long, short)
        status = ALARM if "--fail-on-alarm" in command else 0  # of spots in bottle/test
        assert main(shlex.split(line)) == status, f"ipad-jax {line}\n{capsys.readouterr()}"
        if number == train:  # so that there are maps to find in the run folder
            assert (
                main(
                    [
                        "evaluate",
                        "--workdir",
                        "runs/bottle",
                        "--config.eval.save_maps=True",
                        "--name",
                        "maps",
                    ]
                )
                == 0
            )
    run = tmp_path / "runs/bottle"
    assert not (unknown := undocumented(run)), f"say in docs/run_folder.md: {unknown}"
    assert (run / "calibrations/learnt/calibration.npz").exists()
    rows = (run / "export/detect/test/results.csv").read_text().splitlines()
    assert len(rows) == 1 + 8
    page = (ROOT / "docs" / "run_folder.md").read_text().split("## metrics.json of images")[1]
    documented = {
        key
        for row in re.findall(r"^\|([^|]*)\|", page, re.M)
        for key in re.findall(r"`(\w+)`", row)
    }
    made = json.loads((run / "eval/test/metrics.json").read_text()).keys()
    assert made <= documented, f"say in docs/run_folder.md what {made - documented} are"
    of_objects = {name for name in documented if name.startswith(("pose_", "beside"))}
    of_objects |= {name for name in documented if name.endswith(("_flagged", "_uncertain"))}
    assert documented - made == of_objects, f"no longer written: {documented - made - of_objects}"


def test_the_readme_types_what_the_page_types():
    page = [" ".join(c) for c in commands((ROOT / "docs" / "use.md").read_text())]
    for command in commands((ROOT / "README.md").read_text()):
        if "press7" in " ".join(command):
            assert " ".join(command) in page
