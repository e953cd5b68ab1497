"""Commands that the page starts: they outlive it, are found again, stop, and are followed without a gap."""

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ipad_jax.web.jobs import LOG, STATE, Jobs
from ipad_jax.web.settings import NotThereError


def until(true, seconds=20.0):
    """Waits until something is true; a machine under load may take its time."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
    return found


def events_of(text):
    """[(id, kind, content)] of a stream of server-sent events."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            found.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return found


def test_a_job_runs_a_list_of_words_without_a_shell(ui):
    odd = "$(touch x); `id` && 'a b'"
    job = ui.jobs.start("detect", ["detect", odd], "odd")
    until(lambda: not ui.jobs.get(job.id).alive)
    assert ui.jobs.get(job.id).status == 0
    assert repr(["detect", odd]) in ui.jobs.tail(job.id)
    assert not list(ui.settings.roots[0].rglob("x"))


def test_many_clicks_at_once_start_one_job(ui):
    """Also where two pages look at the same folder."""
    two = [ui.jobs, Jobs(ui.settings.home, ui.settings.program)]
    clicks = threading.Barrier(8)

    def click(number):
        clicks.wait()
        try:
            return two[number % 2].start("train", ["train"], "x")
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(click, range(8)))
    (started,) = (answer.id for answer in answers if not isinstance(answer, str))
    assert [job.id for job in ui.jobs.all()] == [started]
    refused = [answer for answer in answers if isinstance(answer, str)]
    assert all("another job of this kind is running" in text for text in refused)


def test_a_job_outlives_the_page_that_started_it(ui):
    """Another process starts it and ends; this one finds it running, and stops it within five seconds."""
    home, program = ui.settings.home, ui.settings.program
    code = (
        "import sys\nfrom pathlib import Path\nfrom ipad_jax.web.jobs import Jobs\n"
        f"print(Jobs(Path({str(home)!r}), {program!r}).start('train', ['train'], 'x').id)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    name = done.stdout.strip()
    until(lambda: "step 5/100" in ui.jobs.tail(name))
    assert ui.jobs.get(name).alive
    page = ui.get(f"/jobs/{name}").text
    assert "running" in page
    began = time.monotonic()
    assert ui.post(f"/jobs/{name}/stop").status_code == 303
    until(lambda: not ui.jobs.get(name).alive)
    assert time.monotonic() - began < 5 or os.getloadavg()[0] > 4
    job = ui.jobs.get(name)
    assert (job.status, job.state) == (143, "stopped")
    assert "saved" in ui.jobs.tail(name)  # it was asked, not killed


def test_killing_leaves_no_process(ui):
    job = ui.jobs.start("train", ["train"], "x")
    until(lambda: "step 5/100" in ui.jobs.tail(job.id))
    ui.jobs.stop(job.id, at_once=True)
    until(lambda: not ui.jobs.get(job.id).alive)
    assert ui.jobs.get(job.id).state == "ended, nobody saw how"


def test_stop_works_at_once_after_the_start(ui):
    """Before the job has a process that could be asked."""
    job = ui.jobs.start("train", ["train"], "train")
    assert ui.post(f"/jobs/{job.id}/stop").status_code == 303
    until(lambda: not ui.jobs.get(job.id).alive)


def test_only_one_of_a_kind_runs(ui):
    first = ui.jobs.start("train", ["train"], "the first")
    with pytest.raises(ValueError, match="the first"):
        ui.jobs.start("train", ["train"], "the second")
    ui.jobs.start("validate", ["validate"], "of another kind")
    ui.jobs.stop(first.id)


def test_a_failed_job_says_so(ui):
    job = ui.jobs.start("try", ["detect", "validate"], "try a file")
    until(lambda: not ui.jobs.get(job.id).alive)
    assert "failed (status 1)" in ui.get(f"/jobs/{job.id}").text
    assert "failed (status 1)" in ui.get("/jobs").text


def test_a_check_that_found_something_has_not_failed(ui):
    job = ui.jobs.start("validate", ["validate"], "check")
    until(lambda: not ui.jobs.get(job.id).alive)
    assert "done, with problems found" in ui.get(f"/jobs/{job.id}").text


def test_a_number_taken_by_another_process_is_not_the_job(ui):
    """After a restart of the machine."""
    job = ui.jobs.start("detect", ["detect"], "x")
    until(lambda: not ui.jobs.get(job.id).alive)
    folder = ui.jobs.folder / job.id
    (folder / "ended.json").unlink()
    (folder / STATE).write_text(json.dumps({"pid": os.getpid(), "began": "1"}))
    assert not ui.jobs.get(job.id).alive
    ui.jobs.stop(job.id, at_once=True)  # does nothing: else this test would end here


@pytest.mark.parametrize(
    "name", ["..", "x", "20261129T000000Z-00000000", "../../runs/press", "a" * 400]
)
def test_a_job_that_is_none(ui, name):
    with pytest.raises(NotThereError):
        ui.jobs.get(name)


def test_damaged_job_folders_do_not_break_the_list(ui):
    job = ui.jobs.start("detect", ["detect"], "whole")
    (ui.jobs.folder / "20261129T000000Z-00000000").mkdir()
    other = ui.jobs.folder / "20261129T000001Z-00000000"
    other.mkdir()
    (other / "job.json").write_text("{")
    assert [found.id for found in ui.jobs.all()] == [job.id]


def test_a_stream_resumes_where_it_broke(ui):
    """What was sent before and after, put together, is the log; loss lines come once each."""
    job = ui.jobs.start("train", ["train", "--short"], "x", run=str(ui.run))
    until(lambda: "step 5/100" in ui.jobs.tail(job.id))
    ui.jobs.stop(job.id)
    until(lambda: not ui.jobs.get(job.id).alive)
    found = ui.get(f"/jobs/{job.id}/stream")
    assert found.headers["content-type"].startswith("text/event-stream")
    events = events_of(found.text)
    log = ui.jobs.log(job.id).read_text()
    assert "".join(content for _, kind, content in events if kind == "log") == log
    (rows,) = (content for _, kind, content in events if kind == "metrics")
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert events[-1][1:] == ("end", "stopped")

    place = events[-1][0]
    with (ui.jobs.folder / job.id / LOG).open("a") as file:
        file.write("one more line\n")
    with (ui.run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "loss": NaN}\n{"step": 5, "lo')  # the last is being written
    again = events_of(ui.get(f"/jobs/{job.id}/stream", headers={"Last-Event-ID": place}).text)
    assert [content for _, kind, content in again if kind == "log"] == ["one more line\n"]
    assert [c for _, kind, c in again if kind == "metrics"] == [[{"step": 4, "loss": None}]]


@pytest.mark.parametrize("place", ["x", "-1", "1", "9" * 40, "1-2-3", "٣-٣"])
def test_a_foreign_place_starts_anew(ui, place):
    job = ui.jobs.start("detect", ["detect"], "x")
    until(lambda: not ui.jobs.get(job.id).alive)
    headers = {"Last-Event-ID": place.encode()}
    events = events_of(ui.get(f"/jobs/{job.id}/stream", headers=headers).text)
    assert events[0][1:] == ("log", ui.jobs.log(job.id).read_text())


def test_run_buttons_start_the_command_that_is_shown(ui):
    page = ui.get(ui.run_at).text
    assert f"ipad-jax evaluate --workdir {ui.run}" in page
    found = ui.post(f"{ui.run_at}/act", {"what": "evaluate"})
    (job,) = ui.jobs.all()
    assert found.headers["location"] == f"/jobs/{job.id}"
    assert job.command == f"ipad-jax evaluate --workdir {ui.run}"
    assert ui.post(f"{ui.run_at}/act", {"what": "rm"}).status_code == 400


def test_a_training_resumes_as_it_was_started(ui):
    assert ui.post(f"{ui.run_at}/act", {"what": "resume"}).status_code == 400  # started elsewhere
    words = ["train", "--config", "factory", "--workdir", str(ui.run), "--config.max_seconds=60"]
    first = ui.jobs.start("train", words, "x", run=str(ui.run))
    until(lambda: "step 5/100" in ui.jobs.tail(first.id))
    assert "training" in ui.get("/").text
    ui.jobs.stop(first.id)
    until(lambda: not ui.jobs.get(first.id).alive)
    assert "Resume" in ui.get(ui.run_at).text
    ui.post(f"{ui.run_at}/act", {"what": "resume", "minutes": "2"})
    (again, _) = ui.jobs.all()
    assert again.words == (*words[:-1], "--config.max_seconds=120")


def test_the_program_of_a_job_is_ours_by_default(tmp_path):
    from ipad_jax.web.settings import Settings

    assert Settings((tmp_path,)).program == (sys.executable, "-m", "ipad_jax.main")
    assert Jobs(tmp_path, ("x",)).all() == []
