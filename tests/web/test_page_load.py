"""Fifty browsers at once beside a training: pages and streams go on, and nothing fails."""

import http.client
import threading
import time

import pytest

pytest.importorskip("starlette", reason="the extra `web` is not installed")
import tethered

from ipad_jax.performance.input import SCENE, draw_frames, prepare_drawn
from ipad_jax.performance.page import PAGES, draw_run, read_pages, serving
from ipad_jax.web.jobs import Jobs
from ipad_jax.web.runs import run_id
from ipad_jax.web.settings import Settings
from ipad_jax.web.streams import MOST_STREAMS

pytestmark = pytest.mark.long
CLIENTS, SECONDS = 50, 20.0
TRAIN = {"builder": "video_folder", "name": SCENE, "size": 32}


def test_fifty_clients_read_pages_and_streams_while_a_training_runs(tmp_path):
    """What is refused are streams beyond the limit, and only these."""
    settings = Settings((tmp_path,), tmp_path / "data")
    for index in range(5):
        draw_run(tmp_path / "runs" / f"run{index}")
    run = run_id((tmp_path / "runs" / "run0").resolve())
    jobs = Jobs(settings.home, tethered.words(*settings.program))
    streams, ended = [], threading.Event()

    def follow(port, address):
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        line.request("GET", address)
        answer = line.getresponse()
        read = 0
        while answer.status == 200 and not ended.is_set() and (part := answer.read1(65536)):
            read += len(part)
        streams.append((answer.status, read))
        line.close()

    draw_frames(tmp_path / "frames", 6, 40, 32, 32)
    prepare_drawn(tmp_path / "frames", settings.data_dir, 32)
    words = ["train", "--config", "video_folder:tiny", "--config.total_steps=100000"]
    leaves = {**TRAIN, "data_dir": settings.data_dir}
    words += [f"--config.data.{name}={value}" for name, value in leaves.items()]
    training = jobs.start("train", [*words, "--workdir", str(tmp_path / "runs" / "t")], "train")
    with serving(tmp_path) as port:
        watch = f"/runs/{run}/watch/stream?of=detect/camera-0/20261129T000000Z"
        asked = [f"/jobs/{training.id}/stream", watch] * MOST_STREAMS
        threads = [threading.Thread(target=follow, args=(port, one)) for one in asked]
        for thread in threads:
            thread.start()
        pages = (*PAGES, f"/runs/{run}", f"/jobs/{training.id}", f"/events?run={run}")
        answers = read_pages(port, pages, clients=CLIENTS, seconds=SECONDS)
        assert jobs.get(training.id).alive, jobs.tail(training.id)
        jobs.stop(training.id)
        ended.set()
        until_over(jobs, training)
        for thread in threads:
            thread.join(30)
    assert len(answers) > 2 * CLIENTS
    assert {answer.status for answer in answers} == {200}
    statuses = [status for status, _ in streams]
    assert statuses.count(200) == MOST_STREAMS
    assert statuses.count(503) == len(asked) - MOST_STREAMS
    assert all(read for status, read in streams if status == 200)


def until_over(jobs, job):
    end = time.monotonic() + 300
    while jobs.get(job.id).alive:
        assert time.monotonic() < end
        time.sleep(0.2)
