"""A fault that lasts for minutes: its scores stay, nothing adapts to it, onset and end are both marked."""

import csv

import numpy as np
import pytest
from fake_detector import FakePredictor, make_config

from ipad_jax.evaluation.events import event_metrics, events_of
from ipad_jax.video.detector.detector import Detector, Footage
from ipad_jax.video.detector.record import Record
from ipad_jax.video.normal.frames import NormalFrames
from ipad_jax.video.normal.motion import LAGS, MotionStream, NormalMotion
from ipad_jax.video.normal.phase_tracking import PhaseMap
from ipad_jax.video.normal.small_picture import SmallPictures
from ipad_jax.video.normal.stored import Normal
from ipad_jax.video.scores.aggregate import FrameRows
from ipad_jax.video.scores.calibration import Calibration, fuse
from ipad_jax.video.scores.frame_scores import FrameScores

HEIGHT, WIDTH, CYCLE, FPS = 24, 48, 40, 10.0
NORMAL = 6 * CYCLE  # frames before the fault, and after it
FAULT = round(3 * 60 * FPS)  # frames: three minutes
WEIGHTS = {"nearest": 1.0, "period_error": 0.5, "motion": 1.0}


def machine(turns, seed=0):
    """A slide that runs along a rail once a cycle, never resting; its place is the phase."""
    rng = np.random.default_rng(seed)
    for turn in turns:
        frame = np.full((HEIGHT, WIDTH, 3), 70, np.uint8)
        frame[8:16] = 100
        at = (np.arange(8) + int(turn % 1 * WIDTH)) % WIDTH
        frame[6:18, at] = 220
        yield np.clip(frame + rng.normal(0, 2, frame.shape), 0, 255).astype(np.uint8)


def as_it_is(frame):
    return frame


class ReadsTheSlide(FakePredictor):
    """Says where the slide is in a clip's first frame."""

    def scores(self, clip):
        lit = (clip[:, 0, 6:18, :, 1].mean(axis=1) > 180) * 1.0  # [b, w]
        angle = 2 * np.pi * np.arange(WIDTH) / WIDTH
        middle = np.angle((lit * np.exp(1j * angle)).sum(axis=1)) / (2 * np.pi)
        same = np.full(clip.shape[:2], 0.01, np.float32)
        return {"mse": same, "pooled": same, "phase": ((middle - 3.5 / WIDTH) % 1).astype("f4")}


def table(rows) -> FrameScores:
    names = rows[0].components
    made = FrameRows(
        np.array([row.frame for row in rows]),
        np.zeros(len(rows)),
        {name: np.array([row.components[name] for row in rows], np.float32) for name in names},
    )
    frame = made.frame
    return FrameScores.from_rows(
        made,
        name="v",
        fps=FPS,
        label=0 * frame,
        kind=0 * frame,
        cycle=frame // CYCLE,
        made_with={"eval.stride": 4},
    )


@pytest.fixture(scope="module")
def detector() -> Detector:
    """One that knows ten normal cycles and is calibrated on ten others."""
    config = make_config(stride=4, size=(HEIGHT, WIDTH))
    turns = np.arange(10 * CYCLE) / CYCLE
    view = SmallPictures(64)
    small = [view(frame) for frame in machine(turns)]
    phase = (turns % 1).astype(np.float32)
    group = np.arange(len(turns)) // (2 * CYCLE)
    near = NormalFrames(np.stack(small), phase, view, group, share=0.1)
    stream = MotionStream()
    changes = np.stack([stream.add(picture) for picture in small])
    moving = NormalMotion(changes[max(LAGS) :], phase[max(LAGS) :], view)
    phases = PhaseMap(np.stack(small), phase, group)
    predictor = ReadsTheSlide(Normal(near, moving, phases=phases))
    made = Detector(predictor, config, Footage(FPS, float(CYCLE)))
    rows = list(made.stream(machine(turns, seed=1), batch_size=8, prepare=as_it_is))
    calibration = Calibration.fit(table(rows), WEIGHTS)
    # twice the highest normal score: the noise of another drawing shall not decide
    threshold = 2 * float(np.nanmax(fuse(table(rows), calibration)))
    return Detector(predictor, config, Footage(FPS, float(CYCLE)), calibration, threshold)


def stained(frames):
    for number, frame in enumerate(frames):
        if NORMAL <= number < NORMAL + FAULT:
            frame[2:6, 20:26] = 160
        yield frame


COUNT = 2 * NORMAL + FAULT


def with_stain():
    return stained(machine(np.arange(COUNT) / CYCLE, seed=2))


def with_stop():
    turns = np.concatenate([np.arange(NORMAL), np.full(FAULT, NORMAL), NORMAL + np.arange(NORMAL)])
    return machine(turns / CYCLE, seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("footage", [with_stain, with_stop], ids=["stain", "stop"])
def test_minutes_of_a_fault_score_alike_and_make_one_event_from_onset_to_end(
    detector, tmp_path, footage
):
    with Record(tmp_path, "x", detector) as record:
        rows = []
        for row in detector.stream(footage(), batch_size=8, prepare=as_it_is):
            record.add(row)
            rows.append(row)
    score = np.array([row.score for row in rows])
    minute = round(60 * FPS)
    first = score[NORMAL + 4 * CYCLE :][:minute]
    last = score[: NORMAL + FAULT - CYCLE][-minute:]
    assert np.median(last) == pytest.approx(np.median(first), rel=0.05)
    assert np.quantile(last, 0.1) > 0.9 * np.quantile(first, 0.1)
    with (tmp_path / "events.csv").open() as file:
        (event,) = csv.DictReader(file)
    # a row rests on clips of 8 frames and, for its period error, on 2 of them 2 frames on
    assert float(event["start_s"]) == pytest.approx(NORMAL / FPS, abs=1.5)
    # the longest lag of the motion reaches 16 frames back
    assert float(event["end_s"]) == pytest.approx((NORMAL + FAULT) / FPS, abs=2.5)
    label = np.zeros(COUNT, int)
    label[NORMAL : NORMAL + FAULT] = 1
    at = (0 * label, np.arange(COUNT), [FPS])
    found = event_metrics(events_of(score, *at, detector.rule), label, *at)
    assert found.event_coverage > 0.99
    assert (found.event_recall, found.num_false_alarms) == (1, 0)
