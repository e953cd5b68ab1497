"""A random walk over the command line: whatever is typed, no traceback, and no file changed elsewhere.

Each try is a command with some of its options and, where it has a config, some of its leaves, with values
that are right, out of range, of another type, or that lead out of a folder. A try has its own copy of a
trained run in `walk/`, the only folder it may write; the rest (footage, dataset, the folder for
temporary files) must stay as it was, and the folder it is started in empty.
"""

import contextlib
import io
import os
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from footage import write_video
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from ipad_jax.main import COMMANDS, main
from ipad_jax.run.config import leaves, load_config

TRIES = 300
LONGEST = 180  # seconds of a try: the budget is one step, compiling takes some

PATHS = ["", ".", "../elsewhere", "{walk}/nowhere", "{root}/precious/file.txt", "{walk}/made"]
NAMES = ["", "square", "a b", "../esc", "{root}/precious", ".hidden", "CON", "ok-1", "-x", "été"]
INTEGERS = ["-1", "0", "1", "2", "7", "1.5", "many", ""]
NUMBERS = ["-1", "0", "0.2", "1", "nan", "inf", "many", ""]
FOOTAGE = ["{root}/footage", "{root}/footage/test/stuck/b.avi", *PATHS]
RUNS = ["{walk}/run", *PATHS]

# What a leaf may be set to by its type. Nothing that makes a try long: the budget is one step.
VALUES = {
    bool: ["true", "false", "maybe"],
    int: INTEGERS,
    float: NUMBERS,
    str: [
        "",
        "x",
        "../x",
        "x:y",
        "os:path",
        "video.dmad",
        "nosuch.method",
        "+",
        "square",
        "{walk}/run",
    ],
    list: ["()", "('encoder',)", "('nosuch',)", "encoder", "(1,", ""],
}
SLOW = {"num_workers": ["-1", "0", "many"], "model.encoder.depths": ["()", "(1,", "x"]}
OWN_DATA = [
    *("--config.total_steps=1", "--config.epochs=0.01", "--config.max_seconds=20"),
    *("--config.eval_every=0", "--config.data.builder=video_folder", "--config.data.name=square"),
    "--config.data.data_dir={root}/data",
]


@dataclass(frozen=True)
class Command:
    """Options of a command: `given` ones stand in almost every try, `free` ones in some."""

    words: tuple[str, ...]
    given: dict[str, list[str]]
    free: dict[str, list[str]]
    config: str = ""
    section: str = ""  # leaves that may be set; "" for all
    weight: int = 1  # of its tries


LINES = [
    Command(
        ("train",),
        {
            "--config": ["conae:tiny"] * 30
            + ["nosuch", "conae:nosuch", "", "{root}/precious/file.txt"]
        }
        | {"--workdir": ["{walk}/new"] * 12 + ["{walk}/run"] * 6 + PATHS},
        {"--step": INTEGERS, "--describe": [], "--nosuch": ["1"]},
        config="conae:tiny",
        weight=12,
    ),
    Command(
        ("evaluate",),
        {"--workdir": ["{walk}/run"] * 8 + RUNS, "--no-report": []},
        {"--name": NAMES, "--step": INTEGERS, "--protocol": ["strict", "paper", "strikt"]}
        | {"--scores": ["{walk}/run/eval/strict/scores.npz", *PATHS]}
        | {"--config.data.name": NAMES},
        config="conae:tiny",
        section="eval.",
        weight=8,
    ),
    Command(
        ("detect",),
        {"--workdir": ["{walk}/run"] * 8 + RUNS, "--video": FOOTAGE, "--no-side-by-side": []},
        {"--out": PATHS, "--threshold": NUMBERS, "--stride": INTEGERS, "--fps": NUMBERS}
        | {"--step": INTEGERS, "--batch-size": INTEGERS, "--seek-focal": []}
        | {"--calibration": ["held_out", *NAMES]},
        weight=6,
    ),
    Command(
        ("calibrate",),
        {"--workdir": ["{walk}/run"] * 8 + RUNS, "--video": FOOTAGE, "--name": ["a"] * 4 + NAMES},
        {"--false-alarms-per-hour": ["1/day", "1/1000cycles", "1/moon", *NUMBERS]}
        | {"--step": INTEGERS, "--fps": NUMBERS},
        weight=4,
    ),
    Command(
        ("review",),
        {"--workdir": ["{walk}/run"] * 8 + RUNS, "--events": PATHS},
        {"--mark": ["1=normal", "0=fault", "1=good", "x"]},
    ),
    Command(
        ("learn",),
        {"--workdir": ["{walk}/run"] * 8 + RUNS},
        {"--events": PATHS, "--undo": [], "--force": [], "--step": INTEGERS},
    ),
    Command(
        ("prepare", "video_folder"),
        {"--name": ["mine"] * 4 + NAMES, "--source": FOOTAGE, "--data-dir": ["{walk}/data"]}
        | {"--size": ["32"] * 4 + ["0", "7", "-8", "8x", "16x32", "9999", ""], "--workers": ["1"]},
        {"--fps": NUMBERS, "--cycle": ["folder", "auto", "auto:", "auto:2", *NUMBERS]}
        | {"--quality": INTEGERS, "--overwrite": []},
        weight=4,
    ),
    Command(
        ("prepare", "factory"),
        {"--scene": ["nosuch", "", "../x", "all nosuch"], "--data-dir": ["{walk}/data"]},
        {"--seed": INTEGERS, "--size": ["0", "8x"], "--quality": INTEGERS, "--overwrite": []},
    ),
    Command(
        ("poses",),
        {
            "--source": FOOTAGE,
            "--board": ["charuco:7x5:30mm"] * 4 + ["charuco:7x5", "x:1x1:0mm", ""],
        },
        {"--print-board": ["{walk}/made.pdf", *PATHS], "--overwrite": []},
    ),
    Command(("validate", "video_folder"), {"--source": FOOTAGE}, {"--fps": NUMBERS, "--full": []}),
    Command(
        ("merge",),
        {"--workdir": ["{walk}/run"] * 4 + RUNS, "--out": PATHS},
        {"--step": INTEGERS, "--base": PATHS},
    ),
    Command(
        ("export",),
        {"--workdir": ["{walk}/run"] * 4 + RUNS},
        {"--format": ["stablehlo", "onnx", "x"], "--out": PATHS, "--step": INTEGERS},
    ),
    Command(
        ("reproduce", "--list"),  # without it, hours of training
        {"--table": ["2", "3", "4", "alarm", "5", ""], "--workdir": ["{walk}/tables"], "--tiny": []}
        | {"--data-dir": ["{root}/data"]},
        {"--rows": ["nosuch", "ours", ""], "--seeds": INTEGERS, "--seconds": NUMBERS}
        | {"--steps": INTEGERS, "--index": INTEGERS, "--of": INTEGERS, "--data-seed": INTEGERS}
        | {"--data": ["factory", "ipad", "video_folder", "x"], "--scenes": NAMES, "--show": []}
        | {"--hours": NUMBERS},
        weight=4,
    ),
    Command(
        ("compile",),
        {"--config": ["nosuch", "conae:nosuch", ""]},
        {"--devices": INTEGERS, "--topology": ["x", "v5e:0x0"], "--only": ["x"], "--json": PATHS},
    ),
    Command(("demo", "--scene", "nosuch"), {}, {"--scene": ["../x", ""], "--seconds": NUMBERS}),
    Command(("bench",), {}, {"--nosuch": ["1"]}),
    Command(("ui", "--port", "many"), {}, {"--nosuch": ["1"]}),  # it would serve until it is ended
    Command(("nosuch",), {}, {}),
]


def settings_of(line):
    """Leaf -> values that a command's config has."""
    if not line.config:
        return {}
    return {
        name: SLOW.get(name, VALUES[type(value)])
        for name, value in leaves(load_config(line.config)).items()
        if name.startswith(line.section)
    }


LEAVES = {line.words: settings_of(line) for line in LINES}


def command_line(random):
    """A command line; {root} and {walk} stand for folders."""
    line = random.choices(LINES, [line.weight for line in LINES])[0]
    options = [name for name in line.given if random.random() < 0.95]
    if line.free:
        options += random.choices(sorted(line.free), k=random.choice([0, 0, 1, 1, 2]))
    words = list(OWN_DATA) if line.config and not line.section else []
    for option in options:
        values = {**line.given, **line.free}[option]
        words += [option, random.choice(values)] if values else [option]
    if own_leaves := LEAVES[line.words]:
        for leaf in random.choices(sorted(own_leaves), k=random.choice([0, 1, 1, 2])):
            words.append(f"--config.{leaf}={random.choice(own_leaves[leaf])}")
    return [*line.words, *words]


@dataclass(frozen=True)
class World:
    """The folders around a try."""

    root: Path
    trained: Path

    def contents(self):
        """Every file and folder that no try may change, with its size and time."""
        walk = self.root / "walk"
        found = {}
        for path in self.root.rglob("*"):
            if walk not in (path, *path.parents):
                state = path.stat()
                found[path] = (state.st_size, state.st_mtime_ns) if path.is_file() else None
        return found

    def run(self, words):
        """Exit status and all that a command printed, in a fresh copy of the run."""
        walk = self.root / "walk"
        shutil.rmtree(walk, ignore_errors=True)
        shutil.copytree(self.trained, walk / "run")
        out = io.StringIO()
        (walk / "cwd").mkdir()
        argv = [word.format(root=self.root, walk=walk) for word in words]
        with (
            contextlib.chdir(walk / "cwd"),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
            ends(out),
        ):
            try:
                status = main(argv)
            except SystemExit as leaving:
                status = leaving.code or 0
        return status, out.getvalue()


@contextlib.contextmanager
def ends(out):
    """Fails where the block takes longer than `LONGEST`, with what was printed until then."""

    def stop(*_):
        raise AssertionError(f"still running after {LONGEST} s:\n{out.getvalue()}")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A footage folder, its dataset, a run trained and evaluated on it, and precious files."""
    root = tmp_path_factory.mktemp("world")
    for length, name in ((200, "train/normal/long"), (50, "test/normal/a"), (50, "test/stuck/b")):
        write_video(root / "footage" / f"{name}.avi", length, fps=10.0)
    for name in ("precious", "temporary"):
        (root / name).mkdir()
    for name in ("file.txt", "report.html", "metrics.json", "precious.webm"):
        (root / "precious" / name).write_text(name)
    patch = pytest.MonkeyPatch()
    # a try without --data-dir rightly prepares into the home
    patch.setenv("HOME", str(root / "walk" / "home"))
    patch.setattr(tempfile, "tempdir", str(root / "temporary"))
    data = ["--name", "square", "--source", f"{root}/footage", "--data-dir", f"{root}/data"]
    assert main(["prepare", "video_folder", *data, "--size", "32", "--workers", "1"]) == 0
    run = root / "trained"
    config = [word.format(root=root) for word in OWN_DATA] + ["--config.num_devices=1"]
    assert main(["train", "--config", "conae:tiny", *config, "--workdir", str(run)]) == 0
    assert main(["evaluate", "--workdir", str(run), "--no-report"]) == 0
    yield World(root, run)
    patch.undo()


def test_the_walk_knows_every_command_and_no_option_of_before(capsys):
    assert {line.words[0] for line in LINES} - {"nosuch"} == COMMANDS.keys()
    for line in LINES[:-1]:
        with contextlib.suppress(SystemExit):
            main([*line.words, "--help"])
        text = capsys.readouterr().out
        for option in {**line.given, **line.free}.keys() - {"--nosuch", "--no-side-by-side"}:
            assert option.startswith("--config.") or option in text, f"{line.words} has no {option}"


@pytest.mark.long
@settings(
    max_examples=TRIES,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(random=st.randoms(use_true_random=True))  # no value is likelier than another
def test_whatever_is_typed_nothing_breaks(world, random):
    words = command_line(random)
    note(" ".join(map(repr, words)))
    before = world.contents()
    status, text = world.run(words)
    note(f"status {status}\n{text}")
    assert status in (0, 1, 2)
    assert "Traceback" not in text
    if status:
        assert len(text.strip()) > 20  # something is said
    assert world.contents() == before
    if "." not in words:
        assert not os.listdir(world.root / "walk" / "cwd")
