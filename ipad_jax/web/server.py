"""The page's application, and how it is served."""

import logging
import secrets
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ipad_jax.web import alarm_pages, runs_pages, streams, work_pages
from ipad_jax.web.context import Context, ForbiddenError
from ipad_jax.web.security import Guard
from ipad_jax.web.settings import LOOPBACK, NotThereError, Settings
from ipad_jax.web.uploads import TooLargeError

logger = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
CLOSING_S = 2  # streams are cut so long after Ctrl-C
REQUESTS = 64  # at once; more are refused


def make_app(settings: Settings) -> Guard:
    """The application of some settings, with the guard before all of it."""
    context = Context(settings)

    def failed(request: Request, error: Exception) -> Response:
        status, text = _status_of(error)
        back = _page_before(request)
        return context.page(
            request, "message", status, title="That did not work", text=text, back=back
        )

    app = Starlette(
        routes=[
            *runs_pages.routes(context),
            *work_pages.routes(context),
            *alarm_pages.routes(context),
            *streams.routes(context),
            Mount("/static", StaticFiles(directory=STATIC)),
            Route(
                "/favicon.ico", lambda _: FileResponse(STATIC / "icon.svg")
            ),  # asked for by reports
        ],
        exception_handlers={
            HTTPException: failed,
            ValueError: failed,
            OSError: failed,
            Exception: failed,
        },
    )
    return Guard(app, settings)


def _page_before(request: Request) -> str:
    """The address of the page of ours that a request came from; "" where it came from elsewhere."""
    try:
        came = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return ""
    if came.netloc != request.headers.get("host"):
        return ""
    return "/" + came.path.lstrip("/\\") + (f"?{came.query}" if came.query else "")


def _status_of(error: Exception) -> tuple[int, str]:
    """The HTTP status of an error, and what a person is told: never where in the program it was."""
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail)
    if isinstance(error, NotThereError):
        return 404, str(error)
    if isinstance(error, ForbiddenError):
        return 403, str(error)
    if isinstance(error, TooLargeError):
        return 413, str(error)
    if isinstance(error, UnicodeError):  # a ValueError of a library
        return 400, "the request cannot be read."
    if isinstance(error, ValueError):
        return 400, str(error)
    if isinstance(error, OSError):
        return 400, f"the disk says: {error.strerror or 'no'}."
    logger.error("a request failed: %r", error)
    return 500, "an error of the page itself; the window of the command says which."


def with_access(settings: Settings, host: str) -> Settings:
    """The settings for a host: beyond loopback with a token, and with the host's name allowed."""
    if host in LOOPBACK:
        return settings
    token = settings.token or secrets.token_urlsafe(24)
    return replace(settings, token=token, hosts=(*settings.hosts, host))


def serve(settings: Settings, host: str, port: int) -> None:
    """Serves the page until Ctrl-C or SIGTERM. Jobs that it started go on.

    Raises:
      OSError: the port is taken.
    """
    import uvicorn

    config = uvicorn.Config(
        make_app(settings),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,  # addresses may hold the token
        proxy_headers=False,  # nobody stands before it who could be believed
        server_header=False,
        limit_concurrency=REQUESTS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=CLOSING_S,
    )
    uvicorn.Server(config).run()
