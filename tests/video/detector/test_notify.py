"""Alarms to other programs: in order, again where it helps, never in the stream's way."""

import json
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ipad_jax.video.detector import notify
from ipad_jax.video.detector.notify import CannotSend, Notifier, command, shown_url, webhook

SOON = (0.01, 0.02)


@contextmanager
def server(*answers: int):
    """Answers POSTs with these, the last one for ever; yields its address and what was taken."""
    taken, left = [], list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            code = left.pop(0) if len(left) > 1 else left[0]
            if code == 200:
                taken.append(json.loads(body))
            self.send_response(code)
            if code == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_):
            pass

    found = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{found.server_port}/secret", taken
    finally:
        found.shutdown()
        thread.join()
        found.server_close()


def test_messages_are_posted_in_order_and_again_until_they_are_taken():
    with server(503, 429, 200, 500, 200) as (url, taken):
        notifier = Notifier("hook", webhook(url), waits_s=SOON)
        for number in range(5):
            notifier.put({"number": number})
        notifier.close(10.0)
    assert [message["number"] for message in taken] == list(range(5))
    assert (notifier.num_sent, notifier.num_lost, notifier.num_waiting) == (5, 0, 0)


@pytest.mark.parametrize("code", [400, 404, 302])
def test_what_no_other_try_cures_is_lost_and_said(code):
    said = []
    with server(code) as (url, taken):
        notifier = Notifier("hook", webhook(url), said.append, waits_s=SOON)
        notifier.put({"number": 1})
        notifier.close(10.0)
    assert taken == []
    assert notifier.num_lost == 1
    assert f"hook: answered {code}" in said[0]
    assert "secret" not in said[0]


def test_an_address_that_is_not_there_is_tried_again_and_what_is_left_is_named():
    with server(200) as (url, _):
        pass
    said = []
    notifier = Notifier("hook", webhook(url), said.append, waits_s=SOON)
    notifier.put({"number": 1})
    time.sleep(0.2)
    notifier.put({"number": 2})
    assert notifier.num_waiting == 2
    notifier.close(0.5)
    assert "no answer" in said[0]
    assert said[-1] == "hook: 2 messages were not sent"
    assert notifier.num_lost == 2


def test_a_full_queue_loses_the_oldest_counts_them_and_never_waits(monkeypatch):
    monkeypatch.setattr(notify, "WAITING", 3)
    ready, sent, said = threading.Event(), [], []

    def send(message):
        ready.wait()
        sent.append(json.loads(message)["number"])

    notifier = Notifier("slow", send, said.append)
    start_s = time.monotonic()
    for number in range(10):
        notifier.put({"number": number})
        time.sleep(0.01)
    assert time.monotonic() - start_s < 1.0
    ready.set()
    notifier.close(5.0)
    assert sent[-3:] == [7, 8, 9]
    assert sent == sorted(set(sent))
    assert notifier.num_lost == 7
    assert "lost so far" in said[0]


def test_a_command_gets_the_message_and_its_failures_are_said(tmp_path):
    out = tmp_path / "out"
    write = f"import sys; open({str(out)!r}, 'ab').write(sys.stdin.buffer.read() + b'\\n')"
    notifier = Notifier("write", command([sys.executable, "-c", write]))
    for number in range(3):
        notifier.put({"number": number, "text": "a; rm -rf $HOME"})
    notifier.close(20.0)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["number"] for line in lines] == [0, 1, 2]
    fails = command([sys.executable, "-c", "import sys; sys.exit('no siren here')"])
    with pytest.raises(CannotSend, match="exit status 1: no siren here"):
        fails(b"{}")
    with pytest.raises(CannotSend, match="cannot be run"):
        command([str(tmp_path / "none")])(b"{}")


def test_a_command_that_hangs_is_ended_with_what_it_started():
    start_s = time.monotonic()
    with pytest.raises(CannotSend, match=r"took longer than 0\.3 s"):
        command(["sh", "-c", "sleep 60; true"], timeout_s=0.3)(b"{}")
    assert time.monotonic() - start_s < 10


def test_the_secret_part_of_an_address_is_never_shown():
    shown = shown_url("https://user:word@hooks.example.org/services/T0/secret?key=1")
    assert shown == "https://hooks.example.org/..."
