"""`ipad-jax validate mad`: counts, masks paired by name, poses, and files that do not open."""

import json

import cv2
import numpy as np
import pytest
from footage import write_class

from ipad_jax.main import main


@pytest.fixture
def run(tmp_path, capsys):
    """Validates tmp_path with more arguments; gives the exit status and all that was printed."""

    def call(*more: str) -> tuple[int, str]:
        status = main(["validate", "mad", "--manual-dir", str(tmp_path), *more])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return call


@pytest.fixture
def owl(tmp_path):
    return write_class(tmp_path / "MAD-Sim" / "07Owl")


ONE = ("--class", "07Owl")


def test_a_whole_class_is_usable(run, owl):
    status, text = run(*ONE)
    assert status == 0
    row = next(line for line in text.splitlines() if line.startswith("07Owl"))
    # train, poses, good, defective (two kinds of three), masks, opened
    assert row.split() == ["07Owl", "12", "12", "3", "6", "6", "21", "usable"]
    assert "21 of 21 images were opened" in text


def break_mask_name(owl):
    mask = owl / "ground_truth" / "Stains" / "2_mask.png"
    mask.rename(mask.with_name("3_mask.png"))


def break_mask_size(owl):
    cv2.imwrite(str(owl / "ground_truth" / "Burrs" / "0_mask.png"), np.full((8, 40), 255, np.uint8))


def break_mask(owl):
    cv2.imwrite(str(owl / "ground_truth" / "Burrs" / "0_mask.png"), np.zeros((40, 40), np.uint8))


def break_image(owl):
    path = owl / "test" / "good" / "10.png"
    path.write_bytes(path.read_bytes()[:-30])


def break_pose(owl):
    path = owl / "transforms.json"
    content = json.loads(path.read_text())
    content["frames"][0]["transform_matrix"] = [[1, 2], [3, 4]]
    path.write_text(json.dumps(content))


def swap_pictures(owl):
    """The ball in another corner of every other picture."""
    for number in range(0, 12, 2):
        path = str(owl / f"train/good/{number}.png")
        away = 10 if number % 4 else -10
        cv2.imwrite(path, np.roll(cv2.imread(path, cv2.IMREAD_UNCHANGED), (away, away), (0, 1)))


def lose_pose(owl):
    path = owl / "transforms.json"
    content = json.loads(path.read_text())
    del content["frames"][4]
    path.write_text(json.dumps(content))


def lose_image(owl):
    (owl / "train" / "good" / "5.png").unlink()


def lose_test(owl):
    for path in (owl / "test").rglob("*.png"):
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "messages"),
    [
        (
            break_mask_name,
            ["Stains/2.png: has no mask", "3_mask.png: is the mask of no image in test/Stains/"],
        ),
        (break_mask_size, ["0_mask.png: is 40x8, its image 40x40"]),
        (break_mask, ["0_mask.png: marks no pixel"]),
        (break_image, ["good/10.png: truncated PNG"]),
        (break_pose, ["0.png: transform_matrix has shape (2, 2), expected a finite 4x4"]),
        (swap_pictures, ["07Owl: The hull is empty", "good/2.png"]),
        (lose_pose, ["good/4.png: has no pose"]),
        (lose_image, ["5.png: is named in transforms.json but missing"]),
        (lose_test, ["test: holds no images"]),
    ],
)
def test_every_damage_is_named_by_file(run, owl, damage, messages):
    damage(owl)
    status, text = run(*ONE)
    assert status == 1
    assert all(message in text for message in messages), text
    assert "without problems: none" in text


def test_an_archive_lacks_the_classes_that_are_not_there(run, owl):
    status, text = run()
    assert status == 1
    assert "without problems: 07Owl" in text
    assert "MAD-Sim/01Gorilla: is missing" in text
    assert "real01" not in text  # MAD-Real was not unpacked here


def test_real_classes_have_neither_masks_nor_poses(tmp_path, run):
    for number in range(10):
        write_class(tmp_path / "MAD-Real" / f"toy{number}", train=2, real=True)
    status, text = run()
    assert status == 0
    assert "6 defective images have no mask: judged by image only" in text
    assert text.count("no camera poses, as MAD-Real is published") == 10
    assert sum(line.startswith("real") for line in text.splitlines()) == 10
    (tmp_path / "MAD-Real" / "toy3").rename(tmp_path / "toy3")
    status, text = run("--class", "real01")
    assert status == 1
    assert "MAD-Real: MAD class real01 is counted among the 10 class folders" in text


def test_wrong_class_and_no_archive(tmp_path, run):
    status, text = run()
    assert status == 1
    assert "MAD cannot be downloaded for you" in text
    (tmp_path / "x").touch()
    status, text = run("--class", "08Owl")
    assert status == 2
    assert "MAD has no class 08Owl; choose from 01Gorilla" in text
