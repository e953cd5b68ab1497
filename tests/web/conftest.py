"""A root with drawn runs, a program in place of `ipad-jax`, and the page over both."""

import io
import json
import sys
from types import SimpleNamespace

import pytest
from PIL import Image

pytest.importorskip("starlette", reason="the extra `web` is not installed")
import tethered
from starlette.testclient import TestClient

from ipad_jax.web.context import Context
from ipad_jax.web.runs import run_id
from ipad_jax.web.security import FORM
from ipad_jax.web.server import make_app
from ipad_jax.web.settings import Settings

URL = "http://127.0.0.1:7860"
# In place of `ipad-jax`: prints its arguments, then does as the first says.
PROGRAM = """
import signal, sys, time
print("called with", sys.argv[1:], flush=True)
def saved(number, frame):
    print("saved", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, saved)
if "train" in sys.argv[1:]:
    print("step 5/100  loss 0.5", flush=True)
    time.sleep(60)
if "validate" in sys.argv[1:]:
    sys.exit(1)
"""
METRICS = {
    "protocol": "strict",
    "auc_micro": 0.91,
    "auc_interval": [0.85, 0.95],
    "event_recall": 0.75,
    "event_recall_interval": [0.4, 0.9],
    "false_alarms_per_hour": 2.0,
    "deviations": [],
    "by_kind": {"motion": {"auc": 0.88, "num_frames": 40, "num_videos": 2}},
}
CALIBRATION = {
    "rule": {"threshold": 4.5, "sustained": "inf"},
    "wish": {"false_alarms_per_hour": 1.0},
    "basis": {"minutes": 12.0, "another_recording": True},
    "single": {"extrapolated": False},
}


def jpeg():
    """A small picture."""
    out = io.BytesIO()
    Image.new("RGB", (40, 30), (90, 20, 200)).save(out, "JPEG")
    return out.getvalue()


def write_run(folder, **config):
    """A run folder as docs/run_folder.md says, without weights."""
    folder.mkdir(parents=True)
    content = {"task": "video.ipad", "total_steps": 100, "data": {"name": "arm"}} | config
    (folder / "config.json").write_text(json.dumps(content))
    rows = [{"step": step, "loss": 1 / step} for step in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    evaluated = folder / "eval" / "strict"
    evaluated.mkdir(parents=True)
    (evaluated / "metrics.json").write_text(json.dumps(METRICS))
    (evaluated / "report.html").write_text("<p>report</p><script>alert(1)</script>")
    (evaluated / "01.webm").write_bytes(bytes(range(200)))
    (evaluated / "scores.npz").write_bytes(b"not to be fetched")
    (folder / "calibration.json").write_text(json.dumps(CALIBRATION))
    detected = folder / "detect" / "today"
    (detected / "alarms").mkdir(parents=True)
    (detected / "events.csv").write_text(
        "number,start_s,end_s,peak_s,start_utc,end_utc,peak_score,strength,rule,cause,place\n"
        "1,2.0,3.5,2.5,,,9.1,2.02,frame,motion,left\n"
        "2,8.0,9.0,8.5,,,5.1,1.13,frame,,<b>top</b>\n"
    )
    (detected / "scores.csv").write_text(
        "frame,time_s,score,sustained,alarm,note\n0,0.0,1.5,,0,\n1,0.04,9.1,2.0,1,\n"
    )
    (detected / "alarms" / "00001_20261129T035704Z.jpg").write_bytes(jpeg())
    (detected / "alarms" / "00001_20261129T035704Z.mp4").write_bytes(b"clip")
    return folder


@pytest.fixture
def root(tmp_path):
    """A root with two runs and a secret outside of it."""
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "root"
    write_run(folder / "runs" / "press")
    write_run(folder / "runs" / "<i>odd</i>", total_steps=50)
    return folder


@pytest.fixture
def ui(root, tmp_path):
    """The page: `get`, `post` as its own forms do, its settings, and the jobs; all jobs end with it."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    settings = Settings(
        (root,),
        tmp_path / "data",
        cameras=("rtsp://10.0.0.5/stream", "0"),
        program=tethered.words(sys.executable, str(program)),
        max_image_mb=0.2,
        max_video_mb=1.0,
    )
    jobs = Context(settings).jobs
    client = TestClient(make_app(settings), URL, raise_server_exceptions=False)
    client.cookies.set(FORM, settings.form_token)

    def post(address, data=None, **kwargs):
        fields = {"form_token": settings.form_token} | (data or {})
        headers = {"Origin": URL} | kwargs.pop("headers", {})
        return client.post(address, data=fields, headers=headers, follow_redirects=False, **kwargs)

    run = root.resolve() / "runs" / "press"
    yield SimpleNamespace(
        client=client,
        get=client.get,
        post=post,
        settings=settings,
        jobs=jobs,
        run=run,
        run_at=f"/runs/{run_id(run)}",
        id=run_id(run),
    )
    for job in jobs.all():
        jobs.stop(job.id, at_once=True)


@pytest.fixture
def prepared(ui):
    """Two prepared datasets, and one whose build was not finished."""
    for name in ("video_folder/press7_64x64_q95", "image_folder/bottle"):
        version = ui.settings.data_dir / name / "1.0.0"
        version.mkdir(parents=True)
        (version / "dataset_info.json").write_text("{}")
    (ui.settings.data_dir / "video_folder" / "half_64x64_q95").mkdir()
