"""The documents are followed: the method of docs/develop.md, and the commands of docs/use.md."""

import json
import re
import shlex
from fnmatch import fnmatch

import cv2
import numpy as np
import pytest
from moving import write_moving
from pages import ROOT, blocks, commands

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


# Arguments of commands for images and objects, which have their own tests, and of the page, which serves.
OTHERS = {"bottle", "runs/bottle", "bottle/test", "valve", "runs/valve", "toys", "ui"}
# What makes a page's command small enough for a test; everything else is typed as it stands.
SMALLER = {
    "--size 128": "--size 32 --data-dir data",
    "--config video_folder": "--config video_folder:tiny --config.total_steps=2"
    " --config.data.data_dir=data",
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


def test_the_readme_types_what_the_page_types():
    page = [" ".join(c) for c in commands((ROOT / "docs" / "use.md").read_text())]
    for command in commands((ROOT / "README.md").read_text()):
        if "press7" in " ".join(command):
            assert " ".join(command) in page
