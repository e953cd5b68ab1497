"""Unit, compose file and health check of launch/edge: well formed, and of options that there are."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from ipad_jax.commands.detect import check_alarm_options, make_parser

EDGE = Path(__file__).parents[2] / "launch" / "edge"
UNIT = (EDGE / "ipad-jax@.service").read_text()
OLD_S = 120.0
NEWER = ("RestartSteps", "RestartMaxDelaySec")  # than the systemd of the oldest machines


def environment():
    """Variables of the example, as EnvironmentFile reads them."""
    lines = [line for line in (EDGE / "line1.env").read_text().splitlines() if line[:1] != "#"]
    return dict(line.split("=", 1) for line in lines)


def test_the_units_command_is_one_that_detect_takes(tmp_path):
    (command,) = re.findall(r"^ExecStart=(.*)$", UNIT, re.MULTILINE)
    given = environment() | {"RUNTIME_DIRECTORY": str(tmp_path)}
    used = set(re.findall(r"\$\{?(\w+)\}?", command))
    assert used == set(given)
    for name, value in given.items():
        command = re.sub(rf"\$(\{{{name}\}}|{name}\b)", value, command)
    program, name, *words = shlex.split(command)
    assert (Path(program).name, name) == ("ipad-jax", "detect")
    args = make_parser().parse_args(words)
    check_alarm_options(args)
    assert (args.workdir, args.camera) == (given["WORKDIR"], given["CAMERA"])
    assert args.health_file == tmp_path / "health.json"
    assert args.keep_days == 30


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd")
def test_systemd_finds_nothing_wrong(tmp_path):
    unit = tmp_path / "ipad-jax@line1.service"
    unit.write_text(UNIT.replace("/opt/ipad_jax/.venv/bin/ipad-jax", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    found = [line for line in done.stderr.splitlines() if unit.name in line]
    assert not [line for line in found if not any(f"'{name}'" in line for name in NEWER)]


def test_what_the_unit_waits_for_is_what_a_watch_sends():
    """Type=notify waits for READY=1, WatchdogSec for WATCHDOG=1: without either it is killed for ever."""
    sent = (EDGE.parents[1] / "ipad_jax" / "video" / "detector").glob("*.py")
    text = "".join(path.read_text() for path in sent)
    assert "Type=notify" in UNIT
    assert 'tell_systemd("READY=1")' in text
    assert "WatchdogSec=60" in UNIT
    assert 'tell_systemd("WATCHDOG=1")' in text


def test_the_composed_command_is_one_that_detect_takes():
    (service,) = yaml.safe_load((EDGE / "compose.yaml").read_text())["services"].values()
    name, *words = [re.sub(r"\$\{CAMERA:\?[^}]*\}", "rtsp://a/b", w) for w in service["command"]]
    assert name == "detect"
    args = make_parser().parse_args(words)
    targets = [volume.rpartition(":")[0] for volume in service["volumes"]]
    assert args.workdir == "/workdir"
    assert any(target.endswith(":/workdir") for target in service["volumes"])
    assert "./alive.py:/alive.py" in targets
    assert (EDGE / "alive.py").exists()
    build = service["build"]
    assert (EDGE / build["context"] / build["dockerfile"]).exists()
    assert service["init"] is True  # else nothing inside can end the watch
    check = service["healthcheck"]["test"]
    assert check[:3] == ["CMD", "python", "/alive.py"]
    assert check[-1] == str(args.health_file)


def alive(path, *words):
    done = subprocess.run(
        [sys.executable, EDGE / "alive.py", *words, path],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def written(path, age_s=0.0, **content):
    health = {
        "pid": os.getpid(),
        "state": "watching",
        "frames_per_s": 25.0,
        "problem": "",
    } | content
    path.write_text(json.dumps(health))
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_dead_is_told_from_quiet(tmp_path):
    path = tmp_path / "health.json"
    assert alive(path)[0] == 1
    assert alive(written(path)) == (0, "watching, 25.0 frames/s\n")
    assert alive(written(path, state="gap", problem="camera 0: no picture"))[0] == 0
    assert alive(written(path, OLD_S, state="starting"))[0] == 0
    assert alive(written(path, state="ended")) == (1, "ended\n")
    path.write_text("{")
    assert alive(path)[0] == 1


@pytest.mark.slow
def test_one_that_is_dead_is_ended_and_no_other(tmp_path):
    path = tmp_path / "health.json"
    with subprocess.Popen(["sleep", "60"]) as process:
        for age_s, state in ((0.0, "watching"), (OLD_S, "ended"), (OLD_S, "starting")):
            alive(written(path, age_s, pid=process.pid, state=state), "--kill")
            assert process.poll() is None
        code, said = alive(written(path, OLD_S, pid=process.pid), "--kill")
        assert code == 1
        assert said.startswith("dead: ")
        assert process.wait(5) == -9
