"""What stands before every request: host, token, origin, and the headers of every answer.

A page in the same browser can reach a local socket, so loopback alone protects nothing: the host's name is
checked against DNS rebinding, the origin against foreign pages, for pictures and streams too.
"""

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ipad_jax.web.settings import Settings

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# A report has its own styles and pictures inside; no script of it runs, whatever a file name in it is.
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-same-origin"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer browsers send our own forms as Origin: null
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
SAFE = ("GET", "HEAD")
ACCESS, FORM = "ipad_jax_access", "ipad_jax_form"  # cookies


class Guard:
    """Refuses what no own page would send, and sets the headers of what is answered."""

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        answer = self._wrong_host(headers) or self._without_token(scope, headers)
        answer = answer or self._foreign(scope["method"], headers)
        await (answer or self.app)(scope, receive, send_safely)

    def _wrong_host(self, headers: Headers) -> ASGIApp | None:
        try:
            name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        except ValueError:
            name = ""
        if name in self.settings.hosts and headers.get("host", "").count("@") == 0:
            return None
        return PlainTextResponse(
            "This host name is not allowed; start the page with --allow-host NAME.\n", 421
        )

    def _without_token(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        wanted = self.settings.token
        if not wanted:
            return None
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if same(cookie(headers, ACCESS), wanted) or same(bearer, wanted):
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if scope["method"] == "GET" and any(k == "token" and same(v, wanted) for k, v in query):
            rest = urlencode([(k, v) for k, v in query if k != "token"])
            # `//host/` as a path would lead away
            path = "/" + scope["path"].lstrip("/\\")
            answer = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
            answer.set_cookie(ACCESS, wanted, httponly=True, samesite="strict")
            return answer
        return PlainTextResponse("Open the address with the token that the command printed.\n", 401)

    def _foreign(self, method: str, headers: Headers) -> ASGIApp | None:
        site = headers.get("sec-fetch-site")
        if method in SAFE:
            opened = headers.get("sec-fetch-mode") == "navigate"
            framed = headers.get("sec-fetch-dest") in ("iframe", "frame", "embed", "object")
            if site in ("cross-site", "same-site") and (not opened or framed):
                return PlainTextResponse("Another page asked for this.\n", 403)
            return None
        if method != "POST":
            return PlainTextResponse("Only GET, HEAD and POST.\n", 405)
        origin = headers.get("origin")
        ours = f"http://{headers.get('host', '')}"
        if origin is None and site == "same-origin":
            return None
        if origin in (ours, ours.replace("http:", "https:", 1)) and site in (None, "same-origin"):
            return None
        return PlainTextResponse("Only forms of this page may be sent.\n", 403)


def same(given: str, wanted: str) -> bool:
    """Whether two secrets agree, in a time that does not tell where they differ."""
    return secrets.compare_digest(given.encode(), wanted.encode())


def cookie(headers: Headers, name: str) -> str:
    """A cookie's value, "" without."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""
