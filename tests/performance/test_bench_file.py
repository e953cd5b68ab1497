"""`bench file`: each step of judging a file on the same first frames, nothing left behind."""

import pytest
from fake_detector import frames, make_detector, write_avi, write_frames

from ipad_jax.performance import file
from ipad_jax.video.detector.alarm_log import Wanted


@pytest.fixture
def timed(tmp_path, monkeypatch):
    """A call of the benchmark on a drawn file with a stand-in for the run; where it writes meanwhile."""
    monkeypatch.setattr(file, "load", lambda workdir: make_detector(3))
    monkeypatch.setattr(file.tempfile, "mkdtemp", lambda: made(tmp_path / "written"))
    write_avi(tmp_path / "line.avi", frames(40))
    write_frames(tmp_path / "line", frames(20))

    def call(video="line.avi", **options):
        options = {"frames": 30, "batch": 2, "repeats": 1} | options
        return file.time_file(workdir="runs/line", video=str(tmp_path / video), **options)

    return call


def made(folder):
    folder.mkdir()  # once at a time: the one before is gone
    return str(folder)


def test_each_step_is_timed_on_the_first_frames(timed, tmp_path, monkeypatch):
    wishes, detect = [], file.detect

    def noted(*args, **options):
        wishes.append((options.get("wanted", Wanted()).clip_s, bool(options.get("side_by_side"))))
        return detect(*args, **options)

    monkeypatch.setattr(file, "detect", noted)
    table = timed()
    commands = ("`detect --clip-seconds 0`", "`detect`", "`detect --side-by-side`")
    steps = ("decoded", "reduced", "scored", *commands)
    assert wishes == 2 * [(0, False), (5, False), (5, True)]
    assert tuple(row[0] for row in table.rows) == steps
    each = [float(row[3].replace(",", "")) for row in table.rows]
    assert min(each) > 0
    last = [float(row[4]) for row in table.rows]
    for at in range(1, len(each)):
        # a difference to one digit, of values to three figures
        assert last[at] == pytest.approx(each[at] - each[at - 1], abs=0.06 + 0.005 * each[at])
    assert table.notes[0].startswith("30 frames")
    assert not (tmp_path / "written").exists()


def test_a_short_file_and_a_folder_are_refused(timed):
    with pytest.raises(ValueError, match=r"5 frames of .*line.avi are fewer than a clip's"):
        timed(frames=5)
    with pytest.raises(ValueError, match="is a folder of frames; give a video file"):
        timed(video="line")
