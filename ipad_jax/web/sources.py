"""What may be watched live: cameras of the list that was given at the start, and videos below the roots."""

import os
from pathlib import Path

from ipad_jax.web import uploads
from ipad_jax.web.context import Context
from ipad_jax.web.runs import DEPTH
from ipad_jax.web.settings import HIDDEN, NotThereError, place

MOST_FILES, MOST_FOLDERS = 60, 1000
FILE = "file"  # begins a choice that is no number of a camera: file:ROOT:PATH


def address_of(context: Context, choice: str) -> str:
    """The camera of a choice; no other is ever opened.

    Raises:
      ValueError: there is no such choice.
    """
    kind, _, rest = choice.partition(":")
    if kind == FILE:
        number, _, at = rest.partition(":")
        path = place(context.settings, number, at)
        if path.suffix.lower() not in uploads.VIDEOS or not path.is_file():
            raise NotThereError("there is no such video.")
        return str(path)
    cameras = context.settings.cameras
    if not choice.isascii() or not choice.isdigit() or int(choice[:6]) >= len(cameras):
        raise ValueError("choose a camera from the list; `ipad-jax ui --camera ADDRESS` adds one.")
    return cameras[int(choice[:6])]


def shown_address(camera: str) -> str:
    """A camera's address without the password in it."""
    scheme, mark, rest = camera.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}" if mark else camera


def cameras(context: Context) -> list[tuple[str, str]]:
    """(choice, what a person reads) of each camera."""
    return [(str(i), shown_address(one)) for i, one in enumerate(context.settings.cameras)]


def videos(context: Context) -> list[tuple[str, str]]:
    """The same of the first videos below the roots; run folders are passed over."""
    found = []
    for number, root in enumerate(context.settings.roots):
        waiting, seen = [(root, 0)], 0
        while waiting and seen < MOST_FOLDERS and len(found) < MOST_FILES:
            folder, depth = waiting.pop(0)
            seen += 1
            try:
                with os.scandir(folder) as entries:
                    inner = sorted(
                        (e for e in entries if not e.name.startswith(HIDDEN)), key=lambda e: e.name
                    )
            except OSError:
                continue
            if any(entry.name == "config.json" for entry in inner):
                continue
            for entry in inner:
                if depth < DEPTH and entry.is_dir(follow_symlinks=False):
                    waiting.append((folder / entry.name, depth + 1))
                elif not entry.is_symlink() and Path(entry.name).suffix.lower() in uploads.VIDEOS:
                    at = (folder / entry.name).relative_to(root).as_posix()
                    found.append((f"{FILE}:{number}:{at}", at))
    return found[:MOST_FILES]
