"""Bad inputs of every kind in every place: never a trace, a file outside of the roots, or a dead page."""

import random

import httpx2
import pytest

ODD = (
    "../../secret.txt",
    "..%2f..%2fsecret.txt",
    "%2e%2e/%2e%2e/secret.txt",
    "....//....//secret.txt",
    "..\\..\\secret.txt",
    "/etc/passwd",
    "//etc/passwd",
    "file:///etc/passwd",
    "http://169.254.169.254/latest",
    "\0",
    "a\0b",
    "\ud800",
    "é" * 300,
    "x" * 9000,
    "{{7*7}}",
    "<script>alert(1)</script>",
    "'; DROP TABLE runs; --",
    "$(id)",
    "`id`",
    "--config.x=1",
    "-1",
    "9" * 400,
    "nan",
    "1e999",
    "٣",
    "",
    " ",
    ".",
    "..",
    "CON",
    "%",
    "%zz",
    "\r\nSet-Cookie: a=b",
)
QUERIES = (
    ("/data", "at"),
    ("/data", "root"),
    ("/data/picture", "at"),
    ("/compare", "run"),
    ("/try", "run"),
    ("/events", "mark"),
    ("/events", "run"),
    ("/live", "of"),
    ("/threshold", "run"),
)
PATHS = ("/runs/{}", "/jobs/{}", "/static/{}", "/{}", "{run}/file/{}", "/threshold/{}/table")
FORMS = (
    ("/data/work", ("root", "at", "kind", "fps", "name", "size", "cycle", "what")),
    ("/train/start", ("dataset", "purpose", "name", "minutes", "steps")),
    ("{run}/act", ("what", "minutes")),
    ("/live/{id}/start", ("camera",)),
    ("/threshold/{id}/work", ("what", "per_hour", "share")),
    ("/events/{id}/mark", ("of", "mark1", "mark2")),
)
NOT_SAID = ("Traceback", 'File "', "root:x:0", "top secret text")


def odd(rng):
    """An odd input, or a piece of several."""
    text = rng.choice(ODD)
    return text if rng.random() < 0.7 else rng.choice(ODD) + rng.choice("/\\.%&=#?") + text


def check(found, what):
    assert found.status_code != 500, (what, found.text)
    assert not any(words in found.text for words in NOT_SAID), what
    assert "set-cookie" not in found.headers or "a=b" not in found.headers["set-cookie"], what


@pytest.mark.slow
def test_two_hundred_bad_inputs(ui, root):
    (root.parent / "secret.txt").write_text("top secret text")
    rng = random.Random(0)
    sent = number = 0
    while sent < 200:
        number += 1
        kind = number % 3
        text = odd(rng)
        try:
            if kind == 0:
                address, name = rng.choice(QUERIES)
                found = ui.get(address, params={name: text})
            elif kind == 1:
                address = rng.choice(PATHS).replace("{run}", ui.run_at).replace("{}", text)
                found = ui.get(address)
            else:
                address, names = rng.choice(FORMS)
                address = address.format(run=ui.run_at, id=ui.id)
                found = ui.post(address, {name: odd(rng) for name in names})
        except (UnicodeError, ValueError, httpx2.InvalidURL, httpx2.ProtocolError):
            continue  # the client refuses to send it
        sent += 1
        check(found, (address, text))
    assert ui.get("/").status_code == 200
    assert not list(root.parent.glob("*.png"))
    for job in ui.jobs.all():  # what was started has sane words
        assert job.words[0] in ("validate", "prepare", "evaluate", "train", "review", "calibrate")


@pytest.mark.parametrize("seed", range(3))
def test_bad_uploads(ui, seed):
    """Beginnings of real kinds with noise behind, names of all kinds, bodies that are no form."""
    rng = random.Random(seed)
    heads = (
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"BM",
        b"RIFF\0\0\0\0WEBP",
        b"\x1aE\xdf\xa3",
        b"",
    )
    for _ in range(6):
        name = odd(rng).replace("\0", "").encode("utf-8", "replace").decode() + rng.choice(
            (".jpg", ".png", ".mp4", ".exe", "")
        )
        content = rng.choice(heads) + rng.randbytes(rng.randrange(2000))
        check(ui.post(f"/try/{ui.id}/start", files={"file": (name, content)}), name)
    headers = {"Origin": "http://127.0.0.1:7860"}
    for kind, body in (
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=a", b"--a\r\nContent-Disposition: form-data\r\n\r\n"),
        ("application/json", b"{}"),
        ("multipart/form-data; boundary=" + "a" * 500, rng.randbytes(500)),
    ):
        found = ui.client.post(
            f"/try/{ui.id}/start", content=body, headers=headers | {"Content-Type": kind}
        )
        check(found, kind)
        assert found.status_code in (400, 403)
    folder = ui.settings.home / "uploads"
    assert not folder.is_dir() or not list(folder.iterdir())
    assert not ui.jobs.all()
