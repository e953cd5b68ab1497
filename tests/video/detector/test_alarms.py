"""What is said of an alarm: the box around the error, and a cause only where it is clear."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from ipad_jax.evaluation.alarm_rule import Event
from ipad_jax.video.detector.alarms import PICTURE, TIMING, Alarm, AlarmFinder, box_of, cause_of
from ipad_jax.video.detector.detector import FrameScore
from ipad_jax.video.detector.stream import Pictures

CALIBRATION = SimpleNamespace(
    weights={"nearest": 1.0, "period_error": 0.3, "motion": 0.3},
    highest={"nearest": 5.0, "period_error": 4.0, "motion": 6.0},
)


def row(frame=0, event=None, over=None, error=None, **standardised):
    shares = {name: CALIBRATION.weights[name] * value for name, value in standardised.items()}
    pictures = None if error is None else Pictures(np.zeros((2, 2, 3), np.uint8), error, error)
    return FrameScore(
        frame, frame / 10, 0.0, False, {}, shares=shares, event=event, over=over, pictures=pictures
    )


@pytest.mark.parametrize(
    ("standardised", "cause"),
    [
        ({"nearest": 20.0, "period_error": 2.0, "motion": 6.0}, PICTURE),
        ({"nearest": 6.0, "period_error": 12.0, "motion": 1.0}, TIMING),
        ({"nearest": 6.0, "period_error": math.nan, "motion": 18.0}, TIMING),
        # a strong move of a strange thing: both are far out
        ({"nearest": 20.0, "period_error": 2.0, "motion": 24.0}, ""),
        # a high score of many usual parts: nothing left its normal range
        ({"nearest": 4.9, "period_error": 0.0, "motion": 0.0}, ""),
    ],
)
def test_the_cause_is_what_went_furthest_beyond_its_own_normal_range(standardised, cause):
    assert cause_of(row(**standardised), CALIBRATION) == cause
    assert cause_of(row(**standardised), None) == ""


def test_the_box_holds_the_highest_error_and_what_hangs_together_with_it():
    error = np.zeros((10, 20), np.float32)
    error[2:5, 4:8] = 0.6
    error[3, 5] = 1.0
    error[8, 15] = 0.9  # high, but apart
    box = box_of(row(error=error))
    assert box == pytest.approx((4 / 20, 2 / 10, 8 / 20, 5 / 10))
    assert Alarm(Event(0, 1, 0, 1.0), box=box).place == "middle left"
    assert box_of(row()) is None


def test_cause_and_box_are_those_of_the_peak_and_stay_when_the_alarm_is_over():
    error = np.eye(4, dtype=np.float32)
    first, last = Event(3, 4, 3, 5.0), Event(3, 6, 4, 9.0)
    finder = AlarmFinder(CALIBRATION)
    assert finder.add(row(3, event=first, nearest=9.0)) is None
    assert finder.open.cause == PICTURE
    finder.add(row(4, event=Event(3, 5, 4, 9.0), error=error, motion=30.0))
    finder.add(row(5, event=last, nearest=9.0))
    alarm = finder.add(row(20, over=last))
    assert (alarm.event, alarm.cause, alarm.box is not None) == (last, TIMING, True)
    assert finder.open is None
    assert finder.close() is None
