"""`validate image_folder`: each thing that makes a set of images unusable is named, with its file."""

import io
import shutil

import numpy as np
import pytest
from drawn_images import spot, stripes, write, write_folder

from ipad_jax.commands import validate
from ipad_jax.prepare.check_images import check_images, fitting_size, supported
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


def test_enough_images_need_no_warning():
    for number, held, bound in ((10, 5, 45), (30, 6, 39), (100, 20, 14)):
        # the largest of n held-out scores: 1 - 0.05 ** (1 / n) at 95 % confidence
        assert round(100 * (1 - 0.05 ** (1 / held))) == bound
        said = supported(number)
        assert said.startswith(f"{number} good images, {held} of them")
        assert f"no better than {bound} % false alarms" in said
        assert f"{number}: {bound} %" in said.replace("10 good images:", "10:")
    assert supported(150) == ""
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
