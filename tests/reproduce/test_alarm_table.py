"""The alarm's table: footage of its own, judged so that an alarm which is always on wins nothing."""

import dataclasses
import itertools

import numpy as np
import pytest
from etils import epath

from ipad_jax.commands import reproduce
from ipad_jax.main import main
from ipad_jax.reproduce import alarm_footage
from ipad_jax.reproduce.alarm_footage import DRIFT, DRIFTING_PIECES, Plan, drift_of, piece
from ipad_jax.reproduce.alarm_table import ALWAYS, BOTH, judge, rows_of, table_of
from ipad_jax.video.scores.calibration import Calibration
from ipad_jax.video.scores.frame_scores import FrameScores

FPS = 25.0
KINDS = ("normal", "motion", "logic")


def scores_of(name, values, kind=None):
    n = len(values)
    kind = np.zeros(n, np.int8) if kind is None else kind
    return FrameScores(
        video=np.zeros(n, int),
        frame=np.arange(n),
        time_s=np.arange(n) / FPS,
        label=(kind > 0).astype(int),
        kind=kind,
        cycle=np.arange(n) // 60,
        position=np.ones(n, int),
        components={"pooled_mean": values},
        video_names=(name,),
        kinds=KINDS,
        fps=(FPS,),
    )


@pytest.fixture(scope="module")
def judged():
    """Two minutes each: normal with one false alarm of 2 s, faulty with two faults of which one shows."""
    rng = np.random.default_rng(0)
    n = int(120 * FPS)
    calibration = Calibration.fit(
        scores_of("calibrate", rng.normal(1, 0.1, n)), {"pooled_mean": 1.0}, another_recording=True
    )
    normal = rng.normal(1, 0.1, n)
    normal[1000:1050] = 50.0
    faulty, kind = rng.normal(1, 0.1, n), np.zeros(n, np.int8)
    kind[500:550], kind[1500:1510] = 1, 2
    faulty[505:550] = 50.0
    parts = scores_of("normal", normal), scores_of("faulty", faulty, kind)
    return {
        way: judge("crane_synthetic", way, found, *parts)
        for way, found in ((BOTH, calibration), (ALWAYS, None))
    }


def test_alarms_are_counted_on_normal_footage_and_faults_on_the_other(judged):
    row = judged[BOTH]
    assert (row.normal.num_false_calls, row.normal.num_true) == (1, 0)
    assert (row.faulty.num_detected, row.faulty.num_true) == (1, 2)
    assert (row.long_found, row.long) == (1, 1)  # the fault that is missed lasts 0.4 s
    assert row.kinds == {"motion": (1, 1), "logic": (0, 1)}
    assert row.faulty.detection_delay_s == pytest.approx(5 / FPS)
    assert (
        2 / 120 <= row.normal.normal_time_in_alarm < 4 / 120
    )  # it ends after a quiet second, at most


def test_an_alarm_that_never_ends_finds_nothing_and_costs_every_started_minute(judged):
    row = judged[ALWAYS]
    assert row.normal.normal_time_in_alarm == 1
    assert row.normal.num_false_calls == 2
    assert row.faulty.num_detected == row.long_found == 0


def test_the_last_rows_are_the_sums_of_all_machines(judged):
    other = [dataclasses.replace(row, scene="drill_synthetic") for row in judged.values()]
    table = table_of([*judged.values(), *other], "title")
    last = table.rows[-2]
    assert last[:2] == ("all", BOTH)
    assert last[table.columns.index("false alarms")] == "2 in 4 min"
    assert last[table.columns.index("all faults")] == "2 of 4"


def test_drift_is_judged_with_renewed_frames_and_without_once_all_of_it_is_there(tmp_path):
    rng, n = np.random.default_rng(0), int(60 * FPS)
    plan = Plan(epath.Path(tmp_path), ("crane_synthetic",), 1, 0.05, {}, tiny=True, drift=True)
    (scene,) = plan.scenes

    def save(purpose, number, rise, renewed=False):
        values, kind = rng.normal(1 + rise, 0.1, n), np.zeros(n, np.int8)
        if purpose == "drifted":
            values[500:550], kind[500:550] = values[500:550] + 2, 1
        path = plan.path(scene, purpose, number, renewed=renewed)
        path.parent.mkdir(parents=True, exist_ok=True)
        scores = scores_of(f"{purpose}_{number}", values, kind)
        weighted = plan.config(scene).eval.components
        components = dict.fromkeys(weighted, 0 * values) | {"nearest": values}
        dataclasses.replace(scores, components=components).save(path)

    save("calibrate", 0, 0.0)
    for renewed in (False, True):
        for purpose in DRIFT:
            assert rows_of(plan, scene) == []
            count = plan.pieces(purpose)
            for number in range(count):
                rise = number / count if purpose == "drifting" else 1.0
                save(purpose, number, 2 * rise * (not renewed), renewed)
    still, renewed, always = rows_of(plan, scene)
    assert still.normal.normal_time_in_alarm > 0.5
    assert renewed.normal.normal_time_in_alarm < 0.01
    assert (still.long_found, renewed.long_found, renewed.long) == (0, 2, 2)
    assert (always.normal.normal_time_in_alarm, always.long_found) == (1, 0)


def test_light_wanders_without_a_jump():
    ends = [drift_of("drifting", number) for number in range(DRIFTING_PIECES)]
    assert ends[0][0] == 0
    assert all(last == first for (_, last), (first, _) in itertools.pairwise(ends))
    assert ends[-1][1] == drift_of("drifted", 0)[0] == 1
    assert drift_of("normal", 3) == (0, 0)


@pytest.mark.slow  # compiles the renderer
def test_a_piece_is_the_same_every_time_and_like_no_other(monkeypatch):
    monkeypatch.setattr(alarm_footage, "FAULT_EVERY", 1)  # a fault without three cycles before it
    monkeypatch.setattr(alarm_footage, "PIECE_S", 6.0)
    faulty, again = (piece("crane_synthetic", 1, "faulty", 0, (16, 16)) for _ in range(2))
    np.testing.assert_array_equal(faulty.frames, again.frames)
    assert (faulty.kind > 0).any()
    monkeypatch.setattr(alarm_footage, "PIECE_S", 1.0)
    first, second = (piece("crane_synthetic", 1, "normal", i, (16, 16)) for i in range(2))
    assert not first.kind.any()
    n = min(len(first.frames), len(second.frames), len(faulty.frames))
    for other in (second, faulty):
        assert (first.frames[:n] != other.frames[:n]).any()


def test_what_would_run_is_said_before(tmp_path, capsys):
    words = ["--table", "alarm", "--list", "--hours", "0.5", "--workdir", str(tmp_path)]
    assert reproduce.main([*words, "--of", "2", "--index", "1"]) == 0
    text = capsys.readouterr().out
    assert "conveyor_synthetic: 0 of 8 calibrate, 0 of 12 normal, 0 of 4 faulty (another" in text
    assert not list(tmp_path.iterdir())


def test_the_next_command_is_about_the_same_footage(tmp_path, capsys):
    words = ["--table", "alarm", "--hours", "0.1667", "--drift", "--steps", "340"]
    assert reproduce.main([*words, "--show", "--workdir", str(tmp_path)]) == 0
    command = capsys.readouterr().out.split("next: ")[1]
    for option in ("--hours 0.1667", "--drift", "--steps 340"):
        assert option in command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--table", "2", "--hours", "1"], "--hours is of --table alarm, not of table 2"),
        (["--table", "alarm", "--hours", "0"], "--hours 0.0 must be above 0"),
        (
            ["--table", "alarm", "--rows", "ours"],
            "leave --data, --rows, --seeds and --protocol out",
        ),
    ],
)
def test_options_of_another_table_are_refused(words, message, capsys):
    assert main(["reproduce", *words]) == 2
    assert message in capsys.readouterr().err
