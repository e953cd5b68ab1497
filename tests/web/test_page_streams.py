"""Streams of the page: how many at once, and the running picture of a watch."""

import asyncio
import os
import re

import pytest

from ipad_jax.video.detector import live_picture
from ipad_jax.web import streams
from ipad_jax.web.runs import find_run
from ipad_jax.web.server import make_app
from ipad_jax.web.streams import LOOKING, MOST_STREAMS, PICTURE, _follow_pictures


class Line:
    """A browser that asks for an address and holds the line until it hangs up."""

    def __init__(self, app, address):
        path, _, query = address.partition("?")
        scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode()}
        asgi = {"version": "3.0", "spec_version": "2.3"}  # uvicorn's: hanging up comes by receive
        scope |= {"asgi": asgi, "http_version": "1.1"}
        headers = [(b"host", b"127.0.0.1:7860")]
        scope |= {"headers": headers, "scheme": "http", "server": ("127.0.0.1", 7860)}
        self._gone, self._answered = asyncio.Event(), asyncio.Event()
        self.status, self._asked = 0, False
        self._task = asyncio.create_task(app(scope, self._receive, self._send))

    async def answered(self):
        await asyncio.wait_for(self._answered.wait(), 20)
        return self.status

    async def hang_up(self):
        self._gone.set()
        await asyncio.wait_for(asyncio.gather(self._task, return_exceptions=True), 20)

    async def _receive(self):
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        if self._gone.is_set():
            raise OSError("hung up")
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._answered.set()


def test_so_many_streams_at_once_and_each_gives_its_place_back(ui):
    """Of both kinds together; what is refused takes no place."""
    watch = f"{ui.run_at}/watch"
    kinds = [f"{watch}/{kind}?of=detect/today" for kind in ("pictures", "stream")]

    async def ask():
        app = make_app(ui.settings)
        lines = [Line(app, kinds[i % 2]) for i in range(MOST_STREAMS)]
        assert [await line.answered() for line in lines] == [200] * MOST_STREAMS
        for address in kinds:
            refused = Line(app, address)
            assert await refused.answered() == 503
            await refused.hang_up()
        for line in lines:
            await line.hang_up()
        again = [Line(app, address) for address in kinds]
        assert [await line.answered() for line in again] == [200, 200]
        for line in again:
            await line.hang_up()

    asyncio.run(ask())


def test_each_picture_of_a_watch_is_sent_once_and_whole_while_it_is_asked_for(ui):
    folder = find_run(ui.settings.roots, ui.id).detection("detect/today").folder
    shown = [b"first" * 1000, b"second"]
    (folder / LOOKING).touch()
    os.utime(folder / LOOKING, (0, 0))

    async def collect():
        parts = _follow_pictures(folder / PICTURE, folder / LOOKING)
        text = await anext(parts)
        for picture in shown:
            (folder / "new").write_bytes(picture)
            os.replace(folder / "new", folder / PICTURE)
            text += await asyncio.wait_for(anext(parts), 20)
        assert (folder / LOOKING).stat().st_mtime > 0
        (folder / LOOKING).unlink()  # the watch ends
        async for part in parts:
            text += part
        return text

    text = asyncio.run(collect())
    found = re.findall(rb"--picture\r\n.+?Length: (\d+)\r\n\r\n(.+?)\r\n(?=--picture)", text, re.S)
    assert [(int(size), data) for size, data in found] == [(len(data), data) for data in shown]
    assert not (folder / LOOKING).exists()


def test_pictures_of_a_watch_that_has_ended_leave_nothing_behind(ui, monkeypatch):
    """A page that stays open asks again and again."""
    monkeypatch.setattr(streams, "PATIENCE_S", 0.0)
    folder = find_run(ui.settings.roots, ui.id).detection("detect/today").folder
    before = sorted(folder.rglob("*"))

    async def collect():
        return [part async for part in _follow_pictures(folder / PICTURE, folder / LOOKING)]

    assert asyncio.run(collect()) == [b"--picture\r\n"]
    assert sorted(folder.rglob("*")) == before


def test_names_are_those_that_a_watch_knows():
    assert (PICTURE, LOOKING) == (live_picture.PICTURE, live_picture.LOOKING)


@pytest.mark.parametrize("of", ["detect/none", "../press", "detect/today/alarms/x/y"])
def test_pictures_of_no_watch_are_none(ui, of):
    assert ui.get(f"{ui.run_at}/watch/pictures?of={of}").status_code == 404


def test_a_picture_that_leads_out_of_the_run_is_none(ui, root):
    (ui.run / "detect" / "today" / PICTURE).symlink_to(root.parent / "secret.txt")
    assert ui.get(f"{ui.run_at}/watch/pictures?of=detect/today").status_code == 404
