"""Lists the events of a detection and marks them normal, fault or unsure; `ipad-jax learn` learns from that.

Marks are added to marks.jsonl beside the events, with who and when; the last one of an event counts. On a
terminal, without --mark, it asks for each event that has none; Ctrl-D ends that, and what was marked counts.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ipad_jax.commands.next_step import detection, print_next
from ipad_jax.commands.parsing import OF_IMAGES, UsageError, config_of, new_parser

if TYPE_CHECKING:
    from ipad_jax.video.detector.marks import Listed

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
        help="events.csv that `ipad-jax detect` wrote, or its folder",
    )
    parser.add_argument(
        "--mark",
        nargs="+",
        type=numbered_mark,
        default=[],
        metavar="N=MARK",
        help="mark of event N, as listed: normal, fault or unsure",
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
    """Lists the events, marked as asked."""
    from ipad_jax.video.detector.marks import add_marks, listed_events

    config_of(args.workdir, "video", "review", OF_IMAGES)
    path = args.events / "events.csv" if args.events.is_dir() else args.events
    if len(dict(args.mark)) < len(args.mark):
        raise UsageError("--mark: an event is marked twice.")
    events = add_marks(path, dict(args.mark)) if args.mark else listed_events(path)
    for number, event in enumerate(events, 1):
        print(describe(number, event))
    if not events:
        print(f"{path} has no events")
    elif not args.mark and sys.stdin.isatty() and sys.stdout.isatty():
        asked = {n: e for n, e in enumerate(events, 1) if not e.mark}
        for number, event in asked.items():
            mark = ask(number, event)
            if mark is None:
                print()
                break
            if mark:
                events = add_marks(path, {number: mark})
    marked = [event.mark for event in events if event.mark]
    counts = ", ".join(f"{marked.count(mark)} {mark}" for mark in ANSWERS.values())
    print(f"{len(marked)} of {len(events)} events are marked: {counts}")
    if "normal" in marked:
        print_next("learn", "--workdir", args.workdir, "--events", path)
    elif events and not marked:
        mark = ("--mark", "1=normal")
        print_next("review", "--workdir", args.workdir, "--events", path, *mark)
    else:
        print_next(*detection(args.workdir, "video"))
    return 0


def describe(number: int, event: "Listed") -> str:
    """One line on an event."""
    text = event.text
    utc = f"   {text['start_utc'][:19].replace('T', ' ')} UTC" if text.get("start_utc") else ""
    strength = f"{text['strength']} x threshold" if text.get("strength") else ""
    what = ", ".join(w for w in (strength, text.get("cause"), text.get("place")) if w)
    times = f"{event.start_s:9.1f} to {event.end_s:9.1f} s"
    return f"{number:>4}  {event.mark or '-':<6}  {times}{utc}   {what}".rstrip()


def ask(number: int, event: "Listed") -> str | None:
    """A person's mark of an event; "" none; None where the input ends (Ctrl-D)."""
    while True:
        try:
            text = input(
                f"{describe(number, event)}\n      n(ormal), f(ault), u(nsure), Enter: none > "
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
