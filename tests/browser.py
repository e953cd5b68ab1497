"""The page in a real browser: served as the command does, opened in a headless Chromium."""

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from playwright.sync_api import Page, sync_playwright

from ipad_jax.web.server import make_app
from ipad_jax.web.settings import Settings

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
NO_CHROMIUM = "no browser: apt-get install chromium"


@contextlib.contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Serves the page from a thread; its address."""
    config = uvicorn.Config(make_app(settings), port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < end
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


@contextlib.contextmanager
def opened(address: str, *, check: bool = True) -> Iterator[Page]:
    """A browser's page; with `check` it must raise no error and break no policy."""
    problems = []
    with sync_playwright() as client:
        browser = client.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(base_url=address)
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        try:
            yield page
        finally:
            browser.close()
    assert not (check and problems), problems


def picture(page: Page, name: str) -> None:
    """A picture of the page into the folder that IPAD_JAX_SCREENSHOTS names, to be looked at."""
    folder = os.environ.get("IPAD_JAX_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
