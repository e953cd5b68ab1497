"""The running picture of a watch: whole at any moment, written for those who look and for nobody else."""

import time

import cv2
import numpy as np
import pytest
from fake_detector import faulty, frames, make_detector
from played_camera import Played

from ipad_jax.video.detector.live_picture import LOOKING, PICTURE
from ipad_jax.video.detector.watch import watch

BURST_S = 0.02  # between two pictures of the camera


def watched(tmp_path, source, threshold, at_frame):
    """A watch of some frames; `at_frame` is called with its folder and a frame's number as it comes."""

    class Looked(Played):
        def events(self):
            for number, event in enumerate(super().events()):
                (folder,) = tmp_path.iterdir()
                at_frame(folder, number)
                time.sleep(BURST_S)
                yield event

    camera = Looked("0", "0", "camera-0", 10.0, plays=tuple(source))
    return watch(make_detector(threshold=threshold, cycle_frames=None), camera, tmp_path)


def test_nothing_is_drawn_where_nobody_looks(tmp_path):
    seen = []
    record = watched(tmp_path, frames(20), 0.9, lambda folder, _: seen.append(folder / PICTURE))
    assert seen
    assert not any(path.exists() for path in seen)
    assert record.written


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.9, None], ids=["calibrated", "uncalibrated"])
def test_who_looks_finds_a_whole_picture_at_any_moment_and_another_one_soon(tmp_path, threshold):
    shown: list[np.ndarray] = []

    def look(folder, _):
        (folder / LOOKING).touch()
        for _ in range(20):
            path = folder / PICTURE
            if path.exists():
                picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
                assert picture is not None  # half a JPEG decodes to none, or warns
                if not shown or not np.array_equal(picture, shown[-1]):
                    shown.append(picture)

    record = watched(tmp_path, faulty(40), threshold, look)
    assert len(shown) > 3
    height, width = shown[0].shape[:2]
    assert width > height  # the frame beside its heat map
    assert not (record.folder / PICTURE).exists()  # it is none of now any more
    assert not (record.folder / LOOKING).exists()
