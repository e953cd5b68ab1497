"""The command line as a person meets it: help, version, wrong arguments, exit statuses, errors."""

import json
import logging
import os
import subprocess
import sys

import pytest

from ipad_jax.commands import evaluate, merge, parsing
from ipad_jax.main import COMMANDS, main
from ipad_jax.run.config import load_config, save_config
from ipad_jax.video.scores.protocols import PROTOCOLS

TRAIN = ["train", "--config", "factory:tiny"]
SUBCOMMANDS = {"prepare": ("ipad", "mad", "video_folder", "factory"), "validate": ("ipad", "mad")}
SUBCOMMANDS |= {
    "bench": (
        "model",
        "profile",
        "input",
        "detection",
        "startup",
        "page",
        "cycle",
        "growth",
        "pose",
    )
}
HELP = [[name, "--help"] for name in COMMANDS]
HELP += [[name, what, "--help"] for name, parts in SUBCOMMANDS.items() for what in parts]
HEAVY = ["jax", "flax", "tensorflow_datasets", "grain", "sklearn", "matplotlib", "cv2", "scipy"]


NOWHERE = [
    ["train", "--config", "nowhere", "--workdir", "x"],
    ["compile", "--config", "nowhere", "--devices", "2"],
    ["bench", "detection", "--workdir", "nowhere"],
    *(["calibrate", "--workdir", "nowhere"], ["evaluate", "--workdir", "nowhere"]),
    *(["detect", "--workdir", "nowhere", "--video", "x"], ["learn", "--workdir", "nowhere"]),
    ["review", "--workdir", "nowhere", "--events", "x"],
    *(["export", "--workdir", "nowhere"], ["merge", "--workdir", "nowhere", "--out", "x"]),
]


@pytest.mark.parametrize(
    ("lines", "status", "heavy"),
    [
        ([["--version"], ["help", "train"], *HELP], 0, [*HEAVY, "numpy", "rich"]),
        (NOWHERE, 1, HEAVY),
    ],
    ids=["help", "a name that is not there"],
)
def test_what_needs_no_jax_imports_nothing_heavy(lines, status, heavy, tmp_path):
    """In one process of its own, where nothing is imported yet."""
    code = (
        "import contextlib, io, json, sys\n"
        "from ipad_jax.main import main\n"
        "lines, status, heavy = json.loads(sys.argv[1])\n"
        "for words in lines:\n"
        "    out = io.StringIO()\n"
        "    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):\n"
        "        found = main(words)\n"
        "    assert found == status, (words, out.getvalue())\n"
        "    loaded = set(heavy) & set(sys.modules)\n"
        "    assert not loaded, (words, loaded)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps([lines, status, heavy])],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", HELP, ids=" ".join)
def test_help_fits_a_screen_and_shows_one_example(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"usage: ipad-jax {' '.join(words[:-1])}")
    assert max(map(len, lines)) <= 110  # a sentence of the text as written
    assert len(lines) <= 45
    examples = [i for i, line in enumerate(lines) if line == "example:"]
    assert len(examples) == 1
    assert lines[examples[0] + 1].strip().startswith(f"ipad-jax {words[0]}")


def test_top_help_names_every_command_and_the_variable(capsys):
    assert main([]) == 2
    assert main(["--help"]) == main(["help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert "IPAD_JAX_TRACEBACK=1" in text
    assert max(map(len, text.splitlines())) <= 90


def test_help_of_a_command_in_two_ways(capsys):
    assert main(["train", "--help"]) == 0
    one = capsys.readouterr().out
    assert main(["help", "train"]) == 0
    assert capsys.readouterr().out == one
    assert main(["help", "trian"]) == 2


def test_what_rooms_log_is_printed_once_and_only_while_a_command_runs(
    capsys, monkeypatch, tmp_path
):
    room = logging.getLogger("ipad_jax.training")
    by_a_library = [logging.StreamHandler(sys.stdout)]
    monkeypatch.setattr(logging.getLogger(), "handlers", by_a_library)
    monkeypatch.setattr(merge, "run", lambda args: room.info("data: a, b") or 0)
    save_config(tmp_path, load_config("factory:tiny"))
    for _ in range(2):
        assert main(["merge", "--workdir", str(tmp_path), "--out", "b"]) == 0
        assert capsys.readouterr().out == "data: a, b\n"
    room.info("data: c")
    assert not capsys.readouterr().out


def test_version(capsys):
    from importlib.metadata import version

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ipad-jax {version('ipad_jax')}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "unknown command 'trian'"),
        (["train", "--workdir", "x"], "required: --config"),
        (TRAIN, "--workdir DIR is missing"),
        (["train", "--config"], "ipad-jax train: error: argument --config: expected one argument"),
        (["train", "--config", "--workdir", "x"], "argument --config: expected one argument"),
        ([*TRAIN, "--config", "dmad"], "--config is given twice, factory:tiny and dmad"),
        (
            [*TRAIN, "--workdir", "x", "--config.optm.lr=1"],
            'Did you mean "optim" instead of "optm"',
        ),
        ([*TRAIN, "--workdir", "x", "--config.optim.lr=x"], "optim.lr"),
        ([*TRAIN, "--workdir", "x", "--config.data.scene=lift_real"], "is called data.name now"),
        ([*TRAIN, "--workdir", "x", "--wrokdir", "y"], "unrecognized arguments: --wrokdir y"),
        ([*TRAIN, "--workdir", "x", "--describe", "stray"], "unrecognized arguments: stray"),
        (["evaluate"], "required: --workdir"),
        (
            ["evaluate", "--workdir", "RUN", "--scores", "s.npz", "--step", "999"],
            "--step 999 needs the model",
        ),
        (["reproduce", "--table", "2", "--index", "2", "--of", "2"], "--index 2 must be in 0..1"),
        (
            ["prepare", "factory", "--scene", "all", "lift_real"],
            "--scene all means every scene: leave out lift_real",
        ),
    ],
    ids=lambda value: " ".join(value[-3:]) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_named_with_status_2(
    words, message, capsys, tmp_path, tmp_path_factory, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    run = tmp_path_factory.mktemp("run")
    save_config(run, load_config("factory:tiny"))
    assert main([str(run) if word == "RUN" else word for word in words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "main.py" not in captured.err
    assert "TRACEBACK=1 shows where this" not in captured.err
    assert not list(tmp_path.iterdir())


def test_leaves_may_stand_anywhere_and_hold_anything():
    parser = parsing.new_parser("x", "", "", "", takes_leaves=True)
    parsing.add_config(parser)
    parser.add_argument("--step", type=int)
    leaves = ["--config.optim.lr", "0.5", "--config.eval.components={'psnr_mean': 2.0}"]
    words = [*leaves, "--config", "factory:tiny", "--config.freeze=('encoder',)", "--step", "3"]
    args = parser.parse_args(words)
    assert (args.config, args.step) == ("factory:tiny", 3)
    config = parsing.load_with_leaves(args.config, args.leaves)
    assert config.optim.lr == 0.5
    assert config.freeze == ("encoder",)
    assert config.eval.components.psnr_mean == 2.0
    assert config.total_steps == 20  # of tiny


def test_the_wrong_leaf_of_an_evaluation_is_no_quoted_key(tmp_path, capsys):
    save_config(tmp_path, load_config("factory:tiny"))
    words = ["--workdir", str(tmp_path), "--config.eval.components.no_such=1.0"]
    assert main(["evaluate", *words]) == 2
    said = capsys.readouterr().err
    assert "there is no leaf no_such (only leaves of eval can be changed" in said
    assert not said.startswith(("ipad-jax evaluate: '", 'ipad-jax evaluate: "'))


def test_protocols_of_the_help_are_those_of_the_code():
    choices = {action.dest: action.choices for action in evaluate.make_parser()._actions}
    assert set(choices["protocol"]) == set(PROTOCOLS)


def test_an_error_of_ours_is_a_sentence_and_one_of_others_says_how_to_find_it(
    tmp_path, capsys, monkeypatch
):
    words = ["evaluate", "--workdir", str(tmp_path / "none")]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "is no run folder" in said
    assert "IPAD_JAX_TRACEBACK" not in said
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").mkdir()  # open() itself fails on a folder
    words[-1] = str(tmp_path / "run")
    assert main(words) == 1
    assert "IPAD_JAX_TRACEBACK=1 shows where" in capsys.readouterr().err
    monkeypatch.setenv("IPAD_JAX_TRACEBACK", "1")
    with pytest.raises(OSError, match=r"config\.json"):
        main(words)


TALKATIVE = """
import sys, types
from ipad_jax import main

def run(args):
    for _ in range(100_000):
        print("a line")
    return 0

parser = types.SimpleNamespace(parse_args=lambda words: types.SimpleNamespace())
command = types.SimpleNamespace(make_parser=lambda: parser, run=run)
sys.modules["ipad_jax.commands.merge"] = command
sys.exit(main.main(["merge"]))
"""


def test_a_reader_that_leaves_early_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", TALKATIVE], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
