"""Lists what a detection found and marks it normal, fault or unsure; `ipad-jax learn` learns from that.

Of a video these are its events, of images those with an alarm, by their line in results.csv; any other line
can be marked too. Marks are added to marks.jsonl beside them, with who and when; the last one counts. On a
terminal, without --mark, it asks for each that has none; Ctrl-D ends that, and what was marked counts.
"""

import argparse
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ipad_jax.commands.next_step import detection, print_next
from ipad_jax.commands.parsing import IMAGE_FAMILIES, UsageError, config_and_family, new_parser

if TYPE_CHECKING:
    from ipad_jax.image import marks as image_marks
    from ipad_jax.video.detector import marks as video_marks

    Listed = image_marks.Listed | video_marks.Listed

ANSWERS = {"n": "normal", "f": "fault", "u": "unsure"}


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax review`."""
    parser = new_parser(
        "review",
        __doc__,
        "--workdir DIR --events FILE [--mark N=normal|fault|unsure ...]",
        "ipad-jax review --workdir runs/press --events runs/press/detect/today/events.csv --mark 1=normal "
        "2=fault",
    )
    parser.add_argument(
        "--workdir", required=True, metavar="DIR", help="run folder made by `ipad-jax train`"
    )
    parser.add_argument(
        "--events",
        required=True,
        type=Path,
        metavar="FILE",
        help="events.csv or results.csv that `ipad-jax detect` wrote, or its folder",
    )
    parser.add_argument(
        "--mark",
        nargs="+",
        type=numbered_mark,
        default=[],
        metavar="N=MARK",
        help="mark of event or image N, as listed: normal, fault or unsure",
    )
    return parser


def numbered_mark(text: str) -> tuple[int, str]:
    """'3=normal' -> (3, 'normal')."""
    number, _, mark = text.partition("=")
    if not number.isdigit() or mark not in ANSWERS.values():
        raise argparse.ArgumentTypeError(
            f"{text!r}: give the event's number and normal, fault or unsure, such as 3=normal"
        )
    return int(number), mark


def run(args: argparse.Namespace) -> int:
    """Lists the events or images, marked as asked."""
    family = config_and_family(args.workdir)[1]
    of_images = family in IMAGE_FAMILIES
    marks = marks_of_family(family)
    what = "images" if of_images else "events"
    path = args.events / marks.TABLE if args.events.is_dir() else args.events
    if len(dict(args.mark)) < len(args.mark):
        raise UsageError(f"--mark: an {what[:-1]} is marked twice.")
    listed = marks.add_marks(path, dict(args.mark)) if args.mark else marks.listed(path)
    shown = {n: e for n, e in enumerate(listed, 1) if e.alarm or e.mark}
    for number, event in shown.items():
        print(event.describe(number))
    if not shown:
        print(f"{path} has no {what}{' with an alarm' if of_images else ''}")
    elif not args.mark and sys.stdin.isatty() and sys.stdout.isatty():
        for number, event in shown.items():
            if event.mark:
                continue
            mark = ask(number, event)
            if mark is None:
                print()
                break
            if mark:
                listed = marks.add_marks(path, {number: mark})
    marked = [event.mark for event in listed if event.mark]
    counts = ", ".join(f"{marked.count(mark)} {mark}" for mark in ANSWERS.values())
    print(f"{len(marked)} of {len(listed)} {what} are marked: {counts}")
    if "normal" in marked:
        print_next("learn", "--workdir", args.workdir, "--events", path)
    elif shown and not marked:
        mark = ("--mark", f"{next(iter(shown))}=normal")
        print_next("review", "--workdir", args.workdir, "--events", path, *mark)
    else:
        print_next(*detection(args.workdir, family))
    return 0


def marks_of_family(family: str) -> ModuleType:
    """What lists and marks findings: `TABLE`, `listed`, `add_marks`, `marks_of`, `counting`."""
    if family in IMAGE_FAMILIES:
        from ipad_jax.image import marks
    else:
        from ipad_jax.video.detector import marks
    return marks


def ask(number: int, event: "Listed") -> str | None:
    """A person's mark of an event or image; "" none; None where the input ends (Ctrl-D)."""
    while True:
        try:
            text = input(
                f"{event.describe(number)}\n      n(ormal), f(ault), u(nsure), Enter: none > "
            )
        except EOFError:
            return None
        if not text.strip():
            return ""
        if found := ANSWERS.get(text.strip().lower()[:1]):
            return found


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax review --help`."""
    return run(make_parser().parse_args(argv))
