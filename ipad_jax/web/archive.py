"""A run folder as one zip file, made while it is sent: it is never on the disk or in memory."""

import contextlib
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

PIECE_BYTES = 1 << 20


class _Sent(io.RawIOBase):
    """A file that cannot be wound back; `taken` gives what was written since."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        found = b"".join(self._parts)
        self._parts.clear()
        return found


def zipped(folder: Path) -> Iterator[bytes]:
    """The pieces of a zip file with all files of a folder, below its name.

    Nothing is compressed: weights, videos and pictures are dense. Links are left out, since they may lead out
    of the folder, and so is a file that is removed meanwhile.
    """
    out = _Sent()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
        for path in _files(folder):
            with contextlib.suppress(FileNotFoundError):
                inside = f"{folder.name}/{path.relative_to(folder).as_posix()}"
                info = zipfile.ZipInfo.from_file(path, inside, strict_timestamps=False)
                with path.open("rb") as file, archive.open(info, "w", force_zip64=True) as entry:
                    while piece := file.read(PIECE_BYTES):
                        entry.write(piece)
                        yield out.taken()
    yield out.taken()


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink():
                yield path
