"""What the page may see and do, given at its start."""

import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path

HIDDEN = "."  # begins the names of files and folders that are passed over
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Settings:
    """Given at the start and never changed from the page.

    Attributes:
      roots: resolved folders; nothing outside of them is read or written, prepared datasets apart.
      data_dir: of prepared datasets.
      cameras: addresses that may be watched.
      hosts: names by which a browser may call the page, without port.
      token: asked of every browser; "" on loopback.
      form_token: of this process, in every form.
      program: how `ipad-jax` is started, as words.
      max_image_mb, max_video_mb: of an upload.
    """

    roots: tuple[Path, ...]
    data_dir: Path = Path("~/tensorflow_datasets")
    cameras: tuple[str, ...] = ()
    hosts: tuple[str, ...] = LOOPBACK
    token: str = ""
    form_token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    program: tuple[str, ...] = (sys.executable, "-m", "ipad_jax.main")
    max_image_mb: float = 50.0
    max_video_mb: float = 2000.0

    def __post_init__(self) -> None:
        if not self.roots:
            raise ValueError("roots is empty: give at least one folder.")
        for root in self.roots:
            if not root.is_dir():
                raise ValueError(f"root {root} is no folder; make it first.")
        resolved = tuple(root.resolve() for root in self.roots)
        object.__setattr__(self, "roots", resolved)
        object.__setattr__(self, "data_dir", self.data_dir.expanduser().resolve())

    @property
    def home(self) -> Path:
        """Folder of jobs and uploads, in the first root."""
        return self.roots[0] / ".ipad_jax_ui"


class NotThereError(ValueError):
    """What was asked for does not exist, or lies outside of the roots; the page does not say which."""


def within(root: Path, relative: str) -> Path:
    """A path below a folder, links resolved.

    Raises:
      NotThereError: it leaves the folder, or cannot be a path.
    """
    if "\0" in relative or len(relative) > 2000:
        raise NotThereError("no such path.")
    try:
        path = (root / relative).resolve()
        path.exists()  # a name too long for the disk raises here
    except (OSError, RuntimeError, ValueError) as error:
        raise NotThereError("no such path.") from error
    if not path.is_relative_to(root):
        raise NotThereError("no such path.")
    return path


def place(settings: Settings, number: str, at: str) -> Path:
    """A folder or file below a root, by the root's number.

    Raises:
      NotThereError: there is none, or it is hidden.
    """
    if not number.isascii() or not number.isdigit() or int(number[:6]) >= len(settings.roots):
        raise NotThereError("there is no such root.")
    root = settings.roots[int(number[:6])]
    path = within(root, at)
    if not path.exists() or any(p.startswith(HIDDEN) for p in path.relative_to(root).parts):
        raise NotThereError("no such path.")
    return path
