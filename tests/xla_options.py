"""Options of XLA, for those that this jaxlib knows: XLA ends the process over others."""

import mmap
from pathlib import Path

import jaxlib


def if_known(name: str, value: str) -> str:
    """The option as XLA_FLAGS takes it, or nothing."""
    (library,) = Path(jaxlib.__file__).parent.glob("libjax_common.*")
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return f"--{name}={value}" if text.find(name.encode()) >= 0 else ""
