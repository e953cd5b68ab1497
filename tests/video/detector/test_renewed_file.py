"""What a watch took up is there at its next start; where it cannot be, that is said."""

import numpy as np
import pytest
from fake_detector import CYCLE, FakePredictor, frames, make_config
from test_stream import normal_footage

from ipad_jax.video.detector import renewed_file
from ipad_jax.video.detector.detector import Detector, Footage
from ipad_jax.video.detector.renewed_file import FILE, RenewedFile


@pytest.fixture(scope="module")
def detector():
    config = make_config(4)
    config.eval.renew_minutes = 0.05
    config.eval.register, config.eval.features = False, ""
    footage = Footage(10.0, CYCLE)
    return Detector(FakePredictor(normal_footage()), config, footage, threshold=1e9, step=7)


@pytest.fixture
def said():
    return []


def saved(detector, folder, said):
    """The file of a start that took frames up."""
    file = RenewedFile.of(detector, folder, said.append)
    list(detector.stream(frames(120), renewed=file.frames))
    file.save()
    return file


def test_another_start_goes_on(detector, tmp_path, said):
    first = saved(detector, tmp_path, said)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert said == []
    second = RenewedFile.of(detector, tmp_path, said.append)
    for name, array in first.frames.arrays().items():
        np.testing.assert_array_equal(second.frames.arrays()[name], array)
    assert first.frames.num_taken > 0
    assert "earlier start" in said[0]


def test_it_is_saved_now_and_then_beside_the_stream(detector, tmp_path, said, monkeypatch):
    file = RenewedFile.of(detector, tmp_path, said.append)
    list(detector.stream(frames(120), renewed=file.frames))
    file.tick()
    assert not (tmp_path / FILE).exists()
    monkeypatch.setattr(renewed_file, "SAVE_S", -1.0)
    file.tick()
    file.save()  # waits for it
    assert (tmp_path / FILE).exists()
    written = (tmp_path / FILE).stat().st_mtime_ns
    file.save()
    assert (tmp_path / FILE).stat().st_mtime_ns == written


def test_nothing_new_is_not_written_again(detector, tmp_path, said):
    file = saved(detector, tmp_path, said)
    (tmp_path / FILE).unlink()
    file.save()
    assert not (tmp_path / FILE).exists()
    other = detector.at_rate(10.0)
    other.rule = None
    assert RenewedFile.of(other, tmp_path, said.append) is None


def test_what_does_not_fit_is_said_and_begins_anew(detector, tmp_path, said):
    saved(detector, tmp_path, said)
    other = detector.at_rate(10.0)
    other.step = 8
    assert not RenewedFile.of(other, tmp_path, said.append).frames.arrays()["count"].any()
    assert "checkpoint_step is 7, not 8" in said[0]
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:1000])
    assert not RenewedFile.of(detector, tmp_path, said.append).frames.arrays()["count"].any()
    assert "damaged" in said[1]


def test_a_full_disk_is_said_and_does_not_end_the_watch(detector, tmp_path, said):
    file = RenewedFile.of(detector, tmp_path / "gone", said.append)
    list(detector.stream(frames(120), renewed=file.frames))
    file.save()
    assert "could not be written" in said[0]
