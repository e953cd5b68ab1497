"""The command end to end on a drawn machine: trains once, judges, resumes, merges, says what is wrong."""

import json
import re
import shutil

import pytest
from moving import write_moving

from ipad_jax.commands import reproduce
from ipad_jax.main import main
from ipad_jax.reproduce import cells, share
from ipad_jax.reproduce.methods import Setting, default_scenes, make_table
from ipad_jax.reproduce.plan import Budget, jobs_of

SCENE = "crane_synthetic"
# two ways of scoring one training, and a small model that compiles in a moment
ROWS = ["conae", "ipad", "ours", "diff_pooled"]
NAME = f"table2_rows-conae+diff_pooled+ipad+ours_scenes-{SCENE}_seeds-0"  # of the table's files


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_moving(root, "factory", SCENE)
    return str(root)


def arguments(data_dir, workdir, *more, rows=ROWS):
    shared = ["--table", "2", "--tiny", "--steps", "2", "--scenes", SCENE, "--seeds", "0"]
    places = ["--data-seed", "0", "--data-dir", data_dir, "--workdir", str(workdir)]
    return [*shared, *places, "--rows", *rows, *more]


@pytest.fixture(scope="module")
def made(data_dir, tmp_path_factory):
    """The folder of a finished table of two trainings and three cells."""
    workdir = tmp_path_factory.mktemp("tables")
    assert reproduce.main(arguments(data_dir, workdir)) == 0
    return workdir


def root_of(workdir):
    (root,) = workdir.iterdir()
    return root


@pytest.mark.slow  # two trainings, compiled
def test_two_trainings_three_cells_and_a_table_in_three_forms(made):
    root = root_of(made)
    assert root.name == "factory_strict_2steps_tiny"
    trained = sorted(p.parent.relative_to(root).as_posix() for p in root.rglob("training.json"))
    assert trained == [f"{SCENE}/conae/seed0", f"{SCENE}/ours/seed0"]
    assert len(list(root.rglob("cell.json"))) == 3
    assert json.loads((root / SCENE / "ours/seed0/training.json").read_text())["steps"] == 2
    text = (root / f"{NAME}.txt").read_text()
    assert "3 of 3 cells, 2 of 2 trainings" in text
    assert "our full method above IPAD, the paper's method" in text
    assert "frame difference, locally pooled (no training)" in text
    assert "<html" in (root / f"{NAME}.html").read_text()
    assert (root / f"{NAME}.csv").read_text().startswith("row,quantity,column,value")


@pytest.mark.slow  # two trainings, compiled
def test_what_is_complete_is_skipped_and_counted(made, data_dir, monkeypatch, capsys):
    def refuse(*_, **__):
        raise AssertionError("something was trained or judged again")

    monkeypatch.setattr(cells, "train", refuse)
    monkeypatch.setattr(cells.video_cells.evaluation, "evaluate", refuse)
    monkeypatch.setattr(cells.video_cells.evaluation, "rescore", refuse)
    assert reproduce.main(arguments(data_dir, made)) == 0
    assert "2 trainings in this share, 2 of them complete" in capsys.readouterr().out
    assert reproduce.main(arguments(data_dir, made, "--list")) == 0
    listed = capsys.readouterr().out
    assert "2 trainings, 2 complete, 0 to train" in listed
    assert "1 of 1 cells, 1 trainings" in listed


@pytest.mark.slow  # two trainings, compiled
def test_a_cell_cut_short_is_judged_again_without_training(made, data_dir, monkeypatch, tmp_path):
    workdir = tmp_path / "copy"
    shutil.copytree(made, workdir)
    cell = root_of(workdir) / SCENE / "ours/seed0/eval/strict_own"
    (cell / "cell.json").write_text('{"format": 1, "conf')  # a kill between two writes
    monkeypatch.setattr(cells, "train", None)
    monkeypatch.setattr(cells.video_cells.evaluation, "evaluate", None)
    assert reproduce.main(arguments(data_dir, workdir)) == 0
    assert json.loads((cell / "cell.json").read_text())["scene"] == SCENE


@pytest.mark.slow  # two trainings, compiled
def test_shares_made_apart_merge_by_copying(made, data_dir, tmp_path, capsys):
    # each machine has the trainings of its share, here copied from the finished table
    whole = root_of(made)
    for index in range(2):
        part = tmp_path / str(index) / whole.name
        method = ("conae", "ours")[index]
        shutil.copytree(whole / SCENE / method, part / SCENE / method)
    capsys.readouterr()
    done = []
    for index in range(2):
        more = ["--index", str(index), "--of", "2", "--list"]
        reproduce.main(arguments(data_dir, tmp_path / str(index), *more))
        done.append("1 trainings, 1 complete" in capsys.readouterr().out)
    assert done == [True, True]
    shutil.copytree(tmp_path / "1", tmp_path / "0", dirs_exist_ok=True)
    assert reproduce.main(arguments(data_dir, tmp_path / "0", "--show")) == 0
    merged = tmp_path / "0" / whole.name
    assert (merged / f"{NAME}.txt").read_text() == (whole / f"{NAME}.txt").read_text()


@pytest.mark.slow  # two trainings, compiled
def test_a_cell_made_otherwise_is_never_taken(made, data_dir, tmp_path):
    workdir = tmp_path / "copy"
    shutil.copytree(made, workdir)
    path = root_of(workdir) / SCENE / "ours/seed0/eval/strict_own/cell.json"
    content = json.loads(path.read_text())
    content["config"]["optim.lr"] = 0.5
    path.write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"optim.lr: 0.5 there, .* asked for\nTake another --workdir"
    ):
        reproduce.main(arguments(data_dir, workdir))


def test_a_training_that_fails_does_not_cost_the_others(data_dir, tmp_path, monkeypatch, capsys):
    tried = []

    def fail(config, workdir):
        tried.append(workdir.split("/")[-2])
        raise FloatingPointError("loss is not finite at step 1")

    monkeypatch.setattr(cells, "train", fail)
    assert reproduce.main(arguments(data_dir, tmp_path)) == 1
    output = capsys.readouterr()
    assert tried == ["conae", "ours"]
    assert "2 of 2 failed" in output.out
    assert "loss is not finite" in output.err
    assert "UNFINISHED: 0 of 3 cells" in output.out


def test_an_interrupted_training_stops_the_share_with_its_status(data_dir, tmp_path, monkeypatch):
    class Stopped:
        reason = "SIGTERM"

    monkeypatch.setattr(cells, "train", lambda config, workdir: Stopped())
    assert reproduce.main(arguments(data_dir, tmp_path)) == 143


def test_what_cannot_be_is_said_before_anything_runs(data_dir, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"--index 2 must be in 0\.\.1"):
        reproduce.main(arguments(data_dir, tmp_path, "--index", "2", "--of", "2"))
    assert main(["reproduce", *arguments(data_dir, tmp_path, "--of", "0")]) == 2
    with pytest.raises(ValueError, match="factory has no scene crane; choose from conveyor_"):
        reproduce.main(arguments(data_dir, tmp_path, "--scenes", "crane"))
    with pytest.raises(ValueError, match="no row gan"):
        reproduce.main(arguments(data_dir, tmp_path, rows=["gan"]))

    def missing(*_):
        raise FileNotFoundError("no config 'conae'")

    monkeypatch.setattr(cells, "load_config", missing)
    with pytest.raises(ValueError, match=r"conae:factory,tiny: no config[^$]*--rows"):
        reproduce.main(arguments(data_dir, tmp_path))
    assert not list(tmp_path.iterdir())


def test_ipad_scenes_that_are_not_prepared_are_named_with_their_command(tmp_path, capsys):
    more = ["--table", "2", "--data", "ipad", "--scenes", "S01", "--rows", "ipad", "--seeds", "0"]
    places = ["--data-dir", str(tmp_path / "data"), "--workdir", str(tmp_path / "tables")]
    assert reproduce.main([*more, *places]) == 1
    command = f"prepare ipad --size 256 --data-dir {tmp_path}/data --scene S01 --manual-dir DIR"
    assert command in capsys.readouterr().out


def test_own_footage_that_is_not_prepared_is_named_with_its_command(tmp_path, capsys):
    more = ["--table", "2", "--data", "video_folder", "--scenes", "press7", "--rows", "conae"]
    places = ["--data-dir", str(tmp_path / "data"), "--workdir", str(tmp_path / "tables")]
    assert reproduce.main([*more, *places, "--seconds", "10"]) == 1
    command = (
        f"prepare video_folder --size 128 --data-dir {tmp_path}/data --name press7 --source DIR"
    )
    assert command in capsys.readouterr().out


def test_several_own_footages_are_prepared_one_by_one(tmp_path, capsys):
    more = ["--table", "2", "--data", "video_folder", "--scenes", "press7", "press8", "--list"]
    places = ["--data-dir", str(tmp_path / "data"), "--workdir", str(tmp_path / "tables")]
    assert reproduce.main([*more, *places]) == 0
    commands = [line for line in capsys.readouterr().out.splitlines() if "ipad-jax prepare" in line]
    assert [line.partition(" --name ")[2] for line in commands] == [
        "press7 --source DIR",
        "press8 --source DIR",
    ]


def test_a_scene_that_is_only_judged_must_be_prepared_too(tmp_path, capsys):
    more = ["--table", "3", "--rows", "synthetic", "--scenes", "crane_real", "--list"]
    assert reproduce.main([*more, "--data-dir", str(tmp_path), "--workdir", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert f"--data-dir {tmp_path} --scene crane_synthetic crane_real\n" in listed


def test_own_footage_is_trained_with_its_cycle_where_one_was_prepared(tmp_path, monkeypatch):
    write_moving(tmp_path / "data", "video_folder", "press7")
    write_moving(tmp_path / "data", "video_folder", "walkway", known_phase=False)
    heads = {}

    def note(root, job, config, **_):
        heads[job.training.folder] = config.model.get("period_head")

    monkeypatch.setattr(cells, "run_job", note)
    more = ["--table", "2", "--data", "video_folder", "--scenes", "press7", "walkway", "--tiny"]
    more += ["--seeds", "0", "--steps", "2", "--rows", "ours", "conae"]
    places = ["--data-dir", str(tmp_path / "data"), "--workdir", str(tmp_path / "tables")]
    assert reproduce.main([*more, *places]) == 0
    assert heads == {
        "press7/ours/seed0": "pooled",
        "walkway/ours/seed0": "none",
        "press7/conae/seed0": None,
        "walkway/conae/seed0": None,
    }


def file_name(*more, number="2"):
    args = reproduce.make_parser().parse_args(["--table", number, *more])
    request = reproduce.request_of(args)
    whole, _ = make_table(request.number, request.setting)
    return share.file_name(request, whole.only(args.rows) if args.rows else whole, whole)


def test_a_part_of_a_table_has_files_of_its_own():
    machines = default_scenes("factory", 2)
    rows = [line.name for line in make_table(4, Setting("factory", machines))[0].lines]
    assert file_name() == file_name("--scenes", *machines[::-1]) == "table2"
    assert file_name("--rows", *rows, number="4") == "table4"
    assert file_name("--data", "ipad", number="3") == "table3"
    assert file_name("--seeds", "2", "0") == file_name("--seeds", "0", "2") == "table2_seeds-0+2"
    assert file_name("--data", "video_folder", "--scenes", "ped2") == "table2_scenes-ped2"
    parts = [file_name("--rows", *rows[:count], number="4") for count in range(1, len(rows))]
    parts += [file_name("--scenes", *machines[:count]) for count in range(1, len(machines))]
    assert len({*parts, "table2", "table4"}) == len(parts) + 2
    assert all(re.fullmatch(r"[A-Za-z0-9_+-]{1,120}", name) for name in parts)


def test_showing_a_part_leaves_the_whole_tables_files(data_dir, tmp_path):
    root = tmp_path / "factory_strict_2steps_tiny"
    setting = Setting("factory", (SCENE,), (0,), variant="", tiny=True)
    training = next(
        job.training
        for job in jobs_of(make_table(2, setting)[0])
        if job.training.folder == f"{SCENE}/conae/seed0"
    )
    config = cells.training_config(root, training, Budget(steps=2), data_dir)
    (root / training.folder).mkdir(parents=True)
    facts = {"format": cells.FORMAT, "config": cells.describe(config)}
    (root / training.folder / cells.TRAINING).write_text(json.dumps(facts))
    (root / "table2.txt").write_text("the whole")
    assert reproduce.main(arguments(data_dir, tmp_path, "--show")) == 0
    assert (root / "table2.txt").read_text() == "the whole"
    assert "0 of 3 cells, 1 of 2 trainings" in (root / f"{NAME}.txt").read_text()


def test_the_time_is_estimated_from_what_is_known(data_dir, tmp_path, capsys):
    more = ["--table", "2", "--list", "--seconds", "90", "--rows", "ours", "conae"]
    more += ["--seeds", "0", "1", "2", "2"]  # a seed named twice is one
    reproduce.main([*more, "--workdir", str(tmp_path), "--data-dir", data_dir])
    listed = capsys.readouterr().out
    assert "4 scenes x 3 seeds; 24 trainings in all" in listed
    hours = 24 * (90 + share.OVERHEAD_S) / 3600
    assert f"0.6 h of training, {hours:.1f} h with 60 s each" in listed
    assert (
        f"--size 64 --seed 1 --data-dir {data_dir} --scene conveyor_synthetic drill_synth" in listed
    )
