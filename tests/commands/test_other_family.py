"""A command of one family, given a run of another, says so and what serves there."""

import pytest

from ipad_jax.main import main
from ipad_jax.run.config import load_config, save_config


@pytest.mark.parametrize(
    ("spec", "words", "instead"),
    [
        ("bank:tiny", ["calibrate", "--video", "a.mp4"], "give --images, --false-alarms"),
        ("omnipose:tiny", ["calibrate", "--false-alarms-per-hour", "1"], "give --images"),
        ("conae:tiny", ["calibrate", "--images", "a"], "give --video, --false-alarms-per-hour"),
        ("bank:tiny", ["evaluate", "--videos", "all"], "for video runs"),
        ("omnipose:tiny", ["export"], "`ipad-jax detect` runs it"),
    ],
)
def test_it_is_refused_before_anything_is_read(spec, words, instead, tmp_path, capsys):
    save_config(tmp_path, load_config(spec))
    before = sorted(tmp_path.rglob("*"))
    assert main([*words, "--workdir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert " family" in said or "is of image" in said
    assert instead in said
    assert sorted(tmp_path.rglob("*")) == before
