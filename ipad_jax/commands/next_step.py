"""What a command ends with: the one to type after it."""

import shlex


def print_next(*words: object, note: str = "") -> None:
    """Prints `next: ipad-jax WORDS`, quoted for a shell, and `note` behind it as a comment."""
    text = shlex.join(map(str, words))
    print(f"next: ipad-jax {text}" + (f"  # {note}" if note else ""), flush=True)


def detection(workdir: object, family: str) -> tuple[object, ...]:
    """The words that put a run to use."""
    source = ("--images", "FOLDER") if family == "image" else ("--video", "FILE")
    return ("detect", "--workdir", workdir, *source)
