"""What a command ends with: the one to type after it."""

import shlex


def print_next(*words: object, note: str = "") -> None:
    """Prints `next: ipad-jax WORDS`, quoted for a shell, and `note` behind it as a comment."""
    print_command(shlex.join(["ipad-jax", *map(str, words)]) + (f"  # {note}" if note else ""))


def print_command(text: str) -> None:
    """The same of a command that is quoted already."""
    print(f"next: {text}", flush=True)


def detection(workdir: object, family: str) -> tuple[object, ...]:
    """The words that put a run to use."""
    source = ("--images", "FOLDER") if family in ("image", "pose") else ("--video", "FILE")
    return ("detect", "--workdir", workdir, *source)
