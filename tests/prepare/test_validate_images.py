"""`validate image_folder`: each thing that makes a set of images unusable is named, with its file."""

import io
import re
import shutil

import numpy as np
import pytest
from drawn_images import deepen, spot, stripes, write, write_folder

from ipad_jax.commands import validate
from ipad_jax.evaluation import false_alarms
from ipad_jax.input.images import split_good
from ipad_jax.prepare.check_images import check_images, fitting_size, supported
from ipad_jax.run.config import load_config
from ipad_jax.run.progress import Bars


def check(folder):
    return check_images(folder, folder.name, Bars(io.StringIO()))


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "set")


def test_a_good_folder_is_usable_and_counted(folder, capsys):
    findings = check(folder)
    assert (findings.train, findings.good, findings.defects) == (10, 3, {"spot": (3, 3)})
    assert findings.sizes == {"32x40": 16}
    assert not findings.problems
    assert validate.main(["image_folder", "--source", str(folder)]) == 0
    assert "10 good images, 5 of them to set the threshold" in capsys.readouterr().out


def _copy(folder):
    shutil.copy(folder / "train/good/003.png", folder / "test/good/copy.png")


def _same_pixels(folder):  # another file of the same content
    write(folder / "test/spot/009.bmp", stripes(4))


def _small_mask(folder):
    write(folder / "ground_truth/spot/000_mask.png", spot(1, (20, 20))[1])


def _empty_mask(folder):
    write(folder / "ground_truth/spot/000_mask.png", np.zeros((32, 40), np.uint8))


def _lone_mask(folder):
    write(folder / "ground_truth/spot/077_mask.png", spot(1)[1])


def _torn(folder):
    file = folder / "train/good/001.png"
    file.write_bytes(file.read_bytes()[:200])


def _bad_in_train(folder):
    write(folder / "train/dent/0.png", stripes(1))


def _loose(folder):
    write(folder / "test/0.png", stripes(1))


def _few(folder):
    for file in sorted((folder / "train/good").iterdir())[2:]:
        file.unlink()


def _deep(folder):
    deepen(folder / "train/good/001.png")


def _deep_but_one(folder):
    for file in sorted(folder.glob("t*/*/*.png"))[1:]:
        deepen(file)


def _torn_among_deep(folder):
    _torn(folder)
    for file in folder.glob("t*/*/*.png"):
        if file.name != "001.png":
            deepen(file)
    deepen(folder / "test/good/001.png")
    deepen(folder / "test/spot/001.png")


@pytest.mark.parametrize(
    ("harm", "file", "words"),
    [
        (_copy, "test/good/copy.png", "pixels of the training image 003.png"),
        (_same_pixels, "test/spot/009.bmp", "pixels of the training image 004.png"),
        (_small_mask, "ground_truth/spot/000_mask.png", "is 20x20, its image 40x32"),
        (_empty_mask, "ground_truth/spot/000_mask.png", "marks no pixel"),
        (_lone_mask, "ground_truth/spot/077_mask.png", "mask of no image in test/spot/"),
        (_torn, "train/good/001.png", "truncated PNG"),
        (_bad_in_train, "train/dent", "move these to test/"),
        (_loose, "test", "1 images lie outside"),
        (_deep, "train/good/001.png", "16-bit image among 8-bit ones"),
        (_deep_but_one, "test/good/000.png", "8-bit picture among 16-bit ones"),
        (_torn_among_deep, "train/good/001.png", "truncated PNG"),
        (_few, "train/good", "2 good images: at least 4"),
    ],
)
def test_what_is_wrong_is_named(folder, harm, file, words, capsys):
    harm(folder)
    (problem,) = check(folder).problems
    assert problem.path == folder / file
    assert words in problem.message
    assert validate.main(["image_folder", "--source", str(folder)]) == 1
    assert words in capsys.readouterr().out


def test_an_archive_needs_a_category(tmp_path, capsys):
    for name in ("bolt", "nut"):
        write_folder(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"2 categories.*bolt, nut"):
        check(tmp_path)
    with pytest.raises(FileNotFoundError, match="no category 'gear'; there are: bolt, nut"):
        validate.main(["image_folder", "--source", str(tmp_path), "--category", "gear"])
    assert validate.main(["image_folder", "--source", str(tmp_path), "--category", "all"]) == 0
    assert "bolt" in capsys.readouterr().out


def test_what_the_threshold_promises_is_said_of_any_number():
    """As `train` will hold out and state it, for the configs' own wish; more images are what helps."""
    config = load_config("bank")
    data, wish = config.data, config.eval.false_alarm_share
    for count in (10, 36, 150, 1000):
        held = len(split_good(range(count), data.holdout_share, data.holdout_min)[1])  # type: ignore[arg-type]
        stated = false_alarms.threshold(np.arange(held), wish, "image").statement
        (bound,) = re.findall(r"at most (\d+ %)", stated)
        said = supported(count)
        assert f"{count} good images, {held} of them" in said
        assert f"at most {bound} of good parts" in said
        assert "`ipad-jax calibrate`" in said
        assert "data.holdout_share" in said
    assert supported(1) == ""


def test_the_network_sees_the_proportions_of_most_images():
    assert fitting_size({"900x900": 5, "100x400": 1}) == (256, 256)
    assert fitting_size({"1080x1920": 5}) == (192, 336)
    assert fitting_size({"400x1600": 5}) == (128, 512)
    assert fitting_size({"10x4000": 1}) == (32, 1024)


def test_images_of_any_proportions_are_seen_with_as_many_pixels():
    for size in ("300x300", "480x640", "256x1600", "4000x1000"):
        height, width = fitting_size({size: 1})
        assert 0.8 < height * width / 256**2 < 1.25  # sides are rounded to 16
