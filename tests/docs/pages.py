"""The pages that people read, and what stands in them: links, code blocks, commands."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for folder, pattern in (
        (ROOT, "*.md"),
        (ROOT / "docs", "*.md"),
        (ROOT / "launch", "*.md"),
        (ROOT / "data_builders", "**/README.md"),
    )
    for path in folder.glob(pattern)
)


class Block(NamedTuple):
    """A fenced code block: what stands behind the fence, and the code."""

    language: str
    code: str


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(text: str) -> list[Block]:
    return [Block(*match) for match in re.findall(r"^```(.*)\n((?:.*\n)*?)```$", text, re.M)]


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^```.*\n((?:.*\n)*?)```$", "", text, flags=re.M)


def links(text: str) -> list[str]:
    """Targets of links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(text)))


def anchors(text: str) -> set[str]:
    """Anchors of the headings, as they are made from their text."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


def commands(text: str) -> list[list[str]]:
    """Every command of the blocks marked `bash`, and every complete `ipad-jax ...` of the prose."""
    lines = []
    for block in blocks(text):
        if block.language == "bash":
            lines += block.code.replace("\\\n", " ").split("\n")
    quoted = re.findall(r"`(ipad-jax [^`]+)`", " ".join(prose(text).split()))
    # A placeholder is no argument: such a line shows a form, not a command.
    lines += [line for line in quoted if not re.search(r"\.\.\.|[\[\]|]|COMMAND", line)]
    found = []
    for line in lines:
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            command, words = words[:end], words[end + 1 :]
            while command and re.fullmatch(r"\w+=.*", command[0]):  # VARIABLE=value in front
                command = command[1:]
            if command:
                found.append(command)
    return found
