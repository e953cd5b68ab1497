"""Files that a browser sends: streamed to the disk under a random name, checked, removed after a day.

Only what pictures and videos begin with is taken, and no weights, archives or configs: nothing uploaded is
ever loaded as a model. What is inside is decoded by other processes (`probe`, `ipad-jax detect`).
"""

import asyncio
import re
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from ipad_jax.web.context import MAX_FIELD_BYTES, Context, text
from ipad_jax.web.probe import TOO_LARGE, TOO_LONG

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
VIDEOS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
HEAD_BYTES = 16
KEPT_S = 24 * 3600.0
PROBE_S = 30.0  # for a look into a file
MB = 1_000_000


@dataclass(frozen=True)
class Upload:
    """A file that was taken: `path` with its random name, and whether it is an image."""

    path: Path
    is_image: bool


class TooLargeError(ValueError):
    """More bytes than the page takes."""


async def receive(
    context: Context, request: Request, lock: asyncio.Lock
) -> tuple[FormData, Upload]:
    """The form and its one file, on the disk and checked.

    Args:
      context: of the page.
      request: a multipart form with the fields `file` and `form_token`.
      lock: held while a file is taken; a second one is refused.

    Raises:
      ValueError: too large, no picture or video, or unreadable; nothing of it stays.
      HTTPException: 429 while another is being sent.
    """
    if lock.locked():
        raise HTTPException(429, "another file is being sent: try again when it is there.")
    async with lock:
        most = int(max(context.settings.max_image_mb, context.settings.max_video_mb) * MB)
        counted = Request(request.scope, _limited(request, most + MAX_FIELD_BYTES))
        form = await counted.form(max_files=1, max_fields=20, max_part_size=MAX_FIELD_BYTES)
        try:
            context.check_form(request, text(form, "form_token"))
            file = form.get("file")
            if not isinstance(file, UploadFile) or not file.filename:
                raise ValueError("no file was sent: choose one first.")
            return form, await asyncio.to_thread(_store, context, file)
        finally:
            await form.close()


def _limited(request: Request, most: int):
    """The request's bytes, at most so many, whatever its header says."""
    seen = 0

    async def receive() -> Message:
        nonlocal seen
        message = await request.receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise TooLargeError(f"the file is larger than {most / MB:,.0f} MB.")
        return message

    return receive


def _store(context: Context, file: UploadFile) -> Upload:
    suffix = Path(file.filename or "").suffix.lower()
    is_image = suffix in IMAGES
    if not is_image and suffix not in VIDEOS:
        raise ValueError(f"only pictures ({', '.join(IMAGES)}) and videos ({', '.join(VIDEOS)}).")
    settings = context.settings
    most = int((settings.max_image_mb if is_image else settings.max_video_mb) * MB)
    if (file.size or 0) > most:
        raise TooLargeError(f"the file is larger than {most / MB:,.1f} MB.")
    head = file.file.read(HEAD_BYTES)
    if not begins_as(head, suffix):
        raise ValueError(f"this file does not begin as a {suffix} does.")
    folder = settings.home / "uploads"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stored_name(file.filename or '')}{suffix}"
    try:
        with path.open("xb") as out:
            out.write(head)
            while block := file.file.read(1 << 20):
                out.write(block)
        check(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Upload(path, is_image)


def stored_name(filename: str) -> str:
    """A name that nobody can guess, after what is plain text of the file's own."""
    plain = re.sub("[^A-Za-z0-9]+", "-", Path(filename).stem)[:40].strip("-")
    return f"{plain or 'file'}-{secrets.token_hex(8)}"


def begins_as(head: bytes, suffix: str) -> bool:
    """Whether a file's first bytes are those of its kind."""
    if suffix in (".jpg", ".jpeg"):
        return head.startswith(b"\xff\xd8\xff")
    if suffix == ".png":
        return head.startswith(b"\x89PNG\r\n\x1a\n")
    if suffix == ".bmp":
        return head.startswith(b"BM")
    if suffix in (".tif", ".tiff"):
        return head.startswith((b"II*\0", b"MM\0*"))
    if suffix == ".webp":
        return head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    if suffix == ".avi":
        return head[:4] == b"RIFF" and head[8:12] == b"AVI "
    if suffix in (".mkv", ".webm"):
        return head.startswith(b"\x1aE\xdf\xa3")
    if suffix in (".mpg", ".mpeg"):
        return head.startswith((b"\0\0\1\xba", b"\0\0\1\xb3"))
    return head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free")


def check(path: Path) -> None:
    """Looks into a file in another process, which a damaged one may take down.

    Raises:
      ValueError: it cannot be read, or is larger or longer than is taken.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ipad_jax.web.probe", str(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError("this file takes too long to open.") from error
    if done.returncode == TOO_LARGE:
        raise ValueError("its picture has more than 100 million pixels.")
    if done.returncode == TOO_LONG:
        raise ValueError("the video is longer than four hours.")
    if done.returncode:
        raise ValueError("this file cannot be read as a picture or video.")


def remove_old(context: Context, *, all_of_them: bool = False) -> int:
    """Removes uploads that are a day old, or all; returns how many."""
    found = 0
    folder = context.settings.home / "uploads"
    for path in folder.iterdir() if folder.is_dir() else ():
        if all_of_them or time.time() - path.stat().st_mtime > KEPT_S:
            path.unlink(missing_ok=True)
            found += 1
    return found
