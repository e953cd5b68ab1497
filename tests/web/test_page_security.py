"""What the page refuses: foreign hosts, pages, forms, paths that lead away; what its answers forbid."""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import drawn_video
import pytest
import uvicorn
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.testclient import TestClient
from test_page_jobs import until

from ipad_jax.input import camera_process
from ipad_jax.main import main
from ipad_jax.web import probe
from ipad_jax.web.context import MAX_FIELD_BYTES, MAX_FIELDS, Context
from ipad_jax.web.job_process import NICENESS
from ipad_jax.web.security import FORM
from ipad_jax.web.server import make_app, serve, with_access
from ipad_jax.web.settings import NotThereError, Settings, within
from ipad_jax.web.uploads import receive

URL = "http://127.0.0.1:7860"


def test_loopback_needs_no_token_and_another_host_does(ui):
    assert not with_access(ui.settings, "127.0.0.1").token
    outside = with_access(ui.settings, "192.168.1.5")
    client = TestClient(make_app(outside), "http://192.168.1.5:7860", follow_redirects=False)
    assert client.get("/").status_code == 401
    assert client.get("/?token=wrong").status_code == 401
    assert client.get(f"/jobs/x/stream?token={outside.token}x").status_code == 401
    opened = client.get(f"/jobs?token={outside.token}&a=1")
    assert opened.status_code == 303
    assert outside.token not in opened.headers["location"]  # nor in the history from then on
    assert client.get("/jobs").status_code == 200  # by the cookie
    bearer = {"Authorization": f"Bearer {outside.token}"}
    assert TestClient(make_app(outside), URL).get("/", headers=bearer).status_code == 200


def test_a_redirect_with_the_token_stays_here(ui):
    outside = with_access(ui.settings, "192.168.1.5")
    client = TestClient(make_app(outside), "http://192.168.1.5:7860", follow_redirects=False)
    found = client.get(f"http://192.168.1.5:7860//evil.example/?token={outside.token}")
    assert not found.headers["location"].startswith("//")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "a@evil.example", "", "["]
)
def test_a_foreign_host_name_is_refused(ui, host):
    """A name that an attacker points at 127.0.0.1 after the first look-up."""
    assert ui.get("/", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:7860", "127.0.0.1", "[::1]:7860"])
def test_own_host_names_are_served(ui, host):
    assert ui.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": URL, "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_form_of_another_page_is_refused(ui, headers):
    fields = {"form_token": ui.settings.form_token, "what": "evaluate"}
    found = ui.client.post(f"{ui.run_at}/act", data=fields, headers=headers)
    assert found.status_code == 403
    assert not ui.jobs.all()


def test_a_form_without_this_process_s_token_is_refused(ui):
    assert ui.post(f"{ui.run_at}/act", {"form_token": "x", "what": "evaluate"}).status_code == 403
    ui.client.cookies.delete(FORM)
    assert ui.post(f"{ui.run_at}/act", {"what": "evaluate"}).status_code == 403
    assert not ui.jobs.all()


def test_a_page_gives_the_token_that_its_forms_need(ui):
    """As a browser does it: the cookie of the answer, the field of the page."""
    client = TestClient(make_app(ui.settings), URL)
    page = client.get(ui.run_at).text
    token = re.search(r'name="form_token" value="([^"]+)"', page)[1]
    fields = {"form_token": token, "what": "evaluate"}
    found = client.post(f"{ui.run_at}/act", data=fields, headers={"Sec-Fetch-Site": "same-origin"})
    assert found.status_code == 200
    assert len(ui.jobs.all()) == 1


@pytest.mark.parametrize("path", ["file/detect/today/alarms/00001_20261129T035704Z.jpg", "curve"])
def test_another_page_cannot_show_our_pictures_and_streams(ui, path):
    address = f"{ui.run_at}/{path}"
    assert ui.get(address).status_code == 200
    assert ui.get(address, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    framed = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "iframe",
    }
    assert ui.get(address, headers=framed).status_code == 403
    stream = "/jobs/20261129T000000Z-00000000/stream"
    assert ui.get(stream, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    link = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    assert ui.get("/", headers=link).status_code == 200  # a link to the page in a mail


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(ui, method):
    assert ui.client.request(method, "/", headers={"Origin": URL}).status_code == 405


def test_every_answer_has_the_policy(ui):
    for address in ("/", ui.run_at, "/static/page.js", "/nothing", f"{ui.run_at}/curve"):
        headers = ui.get(address).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "server" not in headers


def test_pages_work_under_the_policy(ui):
    """No script or style inside of a page, nothing from elsewhere."""
    for address in ("/", ui.run_at, "/jobs", f"/compare?run={ui.id}"):
        page = ui.get(address).text
        assert not re.search(r"<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=|<style", page), address
        assert not re.search(r'(src|href)="(https?:)?//', page), address


def test_names_of_folders_are_escaped(ui):
    page = ui.get("/").text
    assert "&lt;i&gt;odd&lt;/i&gt;" in page
    assert "<i>odd" not in page


def test_a_report_is_shown_without_its_scripts(ui):
    found = ui.get(f"{ui.run_at}/file/eval/strict/report.html")
    policy = found.headers["content-security-policy"]
    assert "sandbox" in policy
    assert "allow-scripts" not in policy
    assert "script-src" not in policy  # so default-src 'none' holds for them
    assert "default-src 'none'" in policy


def test_ranges_of_own_files_alone(ui):
    found = ui.get(f"{ui.run_at}/file/eval/strict/01.webm", headers={"Range": "bytes=10-19"})
    assert found.status_code == 206
    assert found.content == bytes(range(10, 20))
    many = "bytes=" + ",".join(f"{i}-{i}" for i in range(5000))
    assert (
        ui.get(f"{ui.run_at}/file/eval/strict/01.webm", headers={"Range": many}).status_code < 500
    )


@pytest.mark.parametrize(
    "path",
    [
        "../../secret.txt",
        "..%2f..%2fsecret.txt",
        "config.json",
        "eval/strict/scores.npz",
        "eval/strict/../../config.json",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "detect/today/alarms/away.jpg",
        "eval/strict/%00report.html",
        "detect/" + "x" * 5000,
    ],
)
def test_only_listed_files_of_a_run_are_served(ui, root, path):
    """The link `away.jpg` has a fitting name and leads to the secret."""
    (ui.run / "detect" / "today" / "alarms" / "away.jpg").symlink_to(root.parent / "secret.txt")
    found = ui.get(f"{ui.run_at}/file/{path}")
    assert found.status_code == 404
    assert "secret" not in found.text


def test_paths_stay_below_their_root(tmp_path):
    root = (tmp_path / "root").resolve()
    (root / "in").mkdir(parents=True)
    (root / "away").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    assert within(root, "in") == root / "in"
    assert within(root, "in/../in") == root / "in"
    for bad in (
        "..",
        "away",
        "away/root/../..",
        "/etc",
        "in/../..",
        "a\0b",
        "x" * 3000,
        "x" * 300 + "/y",
    ):
        with pytest.raises(NotThereError):
            within(root, bad)


def test_links_below_a_root_give_no_runs(ui, root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "config.json").write_text('{"task": "video.ipad"}')
    (root / "away").symlink_to(outside)
    assert "away" not in ui.get("/").text


def test_settings_refuse_what_is_no_folder(tmp_path):
    with pytest.raises(ValueError, match="is no folder"):
        Settings((tmp_path / "none",))
    with pytest.raises(ValueError, match="at least one"):
        Settings(())


def test_another_host_cannot_be_served_without_a_token(ui):
    """Also where one was given by hand."""
    given = replace(ui.settings, token="abc")
    assert with_access(given, "10.0.0.1").token == "abc"
    assert len(with_access(ui.settings, "0.0.0.0").token) >= 32


def test_a_form_of_too_many_or_too_large_fields_is_refused(ui):
    """Before they are held in memory."""
    many = {f"mark{i}": "normal" for i in range(MAX_FIELDS + 10)}
    large = {"what": "x" * (MAX_FIELD_BYTES + 1)}
    for fields in (many, large):
        parts = {name: (None, value) for name, value in fields.items()}
        assert ui.post(f"{ui.run_at}/act", files=parts).status_code == 400
    assert not ui.jobs.all()


def test_a_camera_cannot_send_us_elsewhere():
    """Where it redirects, the other address is never asked."""
    asked = []

    class Redirects(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", "/latest/meta-data")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Redirects)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    out, into = os.pipe()
    try:
        camera_process.serve(f"http://127.0.0.1:{server.server_port}/video", into)
        assert b"give the address that it leads to" in os.read(out, 1000)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        os.close(out)
        os.close(into)
    assert asked == ["/video"]


def test_one_upload_at_a_time(ui):
    """The second is refused while the first is being sent; then there is room again."""

    async def send_two():
        lock = asyncio.Lock()
        context = Context(ui.settings)
        async with lock:
            with pytest.raises(HTTPException) as refused:
                await receive(context, Request({"type": "http", "headers": []}), lock)
        return refused.value.status_code

    assert asyncio.run(send_two()) == 429


def test_a_video_that_goes_on_for_too_long_is_not_taken(tmp_path, monkeypatch):
    path = drawn_video.write(tmp_path / "a.mp4", 50)  # two seconds
    assert probe.verdict(str(path)) == 0
    monkeypatch.setattr(probe, "MOST_SECONDS", 1.5)
    assert probe.verdict(str(path)) == probe.TOO_LONG


def test_jobs_leave_the_machine_to_the_page(ui):
    job = ui.jobs.start("train", ["train"], "train")
    until(lambda: "step" in ui.jobs.tail(job.id))
    state = json.loads((ui.settings.home / "jobs" / job.id / "state.json").read_text())
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, state["pid"]) == min(19, own + NICENESS)


def test_the_server_writes_no_addresses_down_and_holds_no_idle_line(ui, monkeypatch):
    """Addresses may hold the token; browsers that do nothing must not take the place of others."""
    served = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda server: served.append(server.config))
    serve(ui.settings, "127.0.0.1", 7860)
    (config,) = served
    assert not config.access_log
    assert not config.server_header
    assert not config.proxy_headers
    assert config.timeout_keep_alive <= 10
    assert config.limit_concurrency <= 100
    assert config.log_level == "warning"


def test_the_page_process_imports_no_jax():
    code = (
        "import sys, ipad_jax.web.server, ipad_jax.commands.ui\n"
        "sys.exit(bool({'jax', 'torch', 'tensorflow', 'cv2', 'matplotlib'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_root_that_is_not_there_is_a_wrong_argument(tmp_path, capsys):
    assert main(["ui", "--root", str(tmp_path / "none")]) == 2
    assert "is no folder" in capsys.readouterr().err
