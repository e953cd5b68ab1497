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


@pytest.mark.parametrize(
    ("spec", "words", "owner"),
    [
        ("bank:tiny", ["--images", "a", "--batch-size", "4"], "--video and --camera"),
        ("bank:tiny", ["--images", "a", "--stride", "0"], "--video and --camera"),
        ("bank:tiny", ["--images", "a", "--keep-days", "1"], "--camera"),
        ("conae:tiny", ["--video", "a", "--keep-days", "1"], "--camera"),
        ("conae:tiny", ["--video", "a", "--false-alarms", "1%"], "--images"),
        ("conae:tiny", ["--video", "a", "--seek-focal"], "--images"),
    ],
)
def test_an_option_of_another_source_is_not_without_effect_in_silence(
    spec, words, owner, tmp_path, capsys
):
    save_config(tmp_path, load_config(spec))
    assert main(["detect", "--workdir", str(tmp_path), *words]) == 2
    assert f"{words[2]} is for {owner}." in capsys.readouterr().err
