"""The last line of a command is one that can be typed."""

import importlib
import inspect
import shlex

import pytest

from ipad_jax.commands import validate
from ipad_jax.commands.next_step import detection, print_next
from ipad_jax.main import COMMANDS


def parsed(line):
    """The arguments that the printed command gives its parser."""
    words = shlex.split(line.removeprefix("next: "), comments=True)
    assert words[0] == "ipad-jax"
    command = importlib.import_module(f"ipad_jax.commands.{words[1]}")
    return command.make_parser().parse_args(words[2:])


@pytest.mark.parametrize("family", ["video", "image"])
def test_a_run_is_put_to_use_by_the_source_of_its_family(family, capsys):
    print_next(*detection("runs/press 7", family), note="it's there")
    args = parsed(capsys.readouterr().out)
    assert args.workdir == "runs/press 7"  # quoted for a shell
    assert (args.images is None) == (family == "video")


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"ui"}))  # a server, which does not end
def test_every_command_ends_with_the_next_one(name):
    source = inspect.getsource(importlib.import_module(f"ipad_jax.commands.{name}"))
    assert "print_next(" in source or "print_command(" in source


@pytest.mark.parametrize(
    "words",
    [
        ["ipad", "--manual-dir", "~/IPAD", "--scene", "S01", "R01"],
        ["ipad", "--manual-dir", "~/IPAD"],
        ["mad", "--manual-dir", "~/MAD"],
        ["video_folder", "--source", "press"],
        ["image_folder", "--source", "bottle", "--category", "cap"],
        ["image_folder", "--source", "bottle"],
        ["object_folder", "--source", "valve"],
    ],
)
@pytest.mark.parametrize("status", [0, 1])
def test_what_is_usable_is_prepared_next_else_checked_again(words, status, capsys, monkeypatch):
    monkeypatch.setattr(validate, "_check", lambda args: status)
    assert validate.main(words) == status
    line = capsys.readouterr().out
    assert line.split()[2] == ("validate" if status else "prepare")
    args = parsed(line)
    assert args.builder == words[0]
