"""Camera poses from a printed board: lens and poses of drawn photos, the page, what is refused."""

import cv2
import numpy as np
import pytest
from board_photos import (
    BOARD,
    CENTRE,
    FOCAL,
    HEIGHT,
    K1,
    WIDTH,
    places_of,
    read,
    spoil,
    write_photos,
)

from ipad_jax.commands import poses, validate
from ipad_jax.data_builders.files import DataError
from ipad_jax.data_builders.object_folder.transforms import read_transforms
from ipad_jax.data_builders.objects import read_object
from ipad_jax.main import main
from ipad_jax.prepare.board import DPI, MODULES, Board
from ipad_jax.prepare.board_poses import find_corners


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A folder of photos after `poses`, with the true poses and what was spoilt."""
    folder = tmp_path_factory.mktemp("object") / "ball"
    true = write_photos(folder)
    spoilt = spoil(folder)
    assert poses.main(["--source", str(folder), "--board", str(BOARD)]) == 0
    return folder, true, spoilt


def test_the_command_prints_the_error_and_why_photos_failed(found, capsys):
    folder, true, spoilt = found
    words = ["--source", str(folder), "--board", str(BOARD), "--overwrite"]
    assert poses.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    errors = np.array([frame["reprojection_px"] for frame in read(folder)["frames"]])
    assert (
        f"reprojection error: median {np.median(errors):.2f} px, largest {errors.max():.2f} px"
        in lines
    )
    assert any(
        line.startswith(f"poses: {len(true)} of {len(true) + len(spoilt)} photos") for line in lines
    )
    failed = dict(line.split(": ", 2)[1:] for line in lines if line.startswith("failed: "))
    assert failed == {n.rpartition("/")[2]: why for n, why in read(folder)["left_out"].items()}
    assert failed.keys() == spoilt


def test_corners_lie_where_the_lens_shows_them(found):
    """On average to a twentieth of a pixel, so not half a pixel off."""
    folder, true, _ = found
    off = []
    for name, pose in true.items():
        seen = find_corners(folder / "images" / name, BOARD)
        off.append(seen.places + 0.5 - places_of(seen.points * (1, -1, -1), pose))
    assert np.abs(np.concatenate(off).mean(axis=0)).max() < 0.05


def test_lens_and_poses_are_those_of_the_drawing(found):
    """Within what ten photos tell: the principal point to a pixel, which is 0.1 degrees of a pose."""
    folder, true, _ = found
    views = read_transforms(folder / "transforms.json")
    assert {view.path.name for view in views} == true.keys()
    for view in views:
        assert abs(view.fx / FOCAL - 1) < 0.005
        assert np.hypot(view.cx - CENTRE[0], view.cy - CENTRE[1]) < 2
        assert abs(view.distortion[0] - K1) < 0.02
        turn = view.world_from_camera[:3, :3].T @ true[view.path.name][:3, :3]
        assert np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))) < 0.3
        away = view.world_from_camera[:3, 3] - true[view.path.name][:3, 3]
        assert np.linalg.norm(away) < 0.003  # metres, at 0.36
    assert max(frame["reprojection_px"] for frame in read(folder)["frames"]) < 0.3


def test_photos_that_fail_are_named_and_left_out_of_the_object(found, capsys):
    folder, true, spoilt = found
    why = {name.rpartition("/")[2]: text for name, text in read(folder)["left_out"].items()}
    assert why.keys() == spoilt
    assert "was not found" in why["no_board.jpg"]
    assert f"most photos are {WIDTH}x{HEIGHT}" in why["small.jpg"]
    images, metadata = read_object(folder, 0)
    assert len(images.train) == len(true)
    assert any("no_board.jpg" in note for note in metadata["notes"])
    x, y, z, radius = metadata["ball"]  # of a hull of ten views, a little more than the ball
    np.testing.assert_allclose((x, y, z), (0.105, -0.075, 0.02), atol=0.004)
    assert 0.019 < radius < 0.03
    assert validate.main(["object_folder", "--source", str(folder)]) == 0


def test_a_mask_for_each_photo_or_for_none(found, tmp_path):
    folder, *_ = found
    (folder / "masks/0.png").rename(tmp_path / "0.png")
    try:
        with pytest.raises(DataError, match=r"0\.png: is missing"):
            read_object(folder, 0)
    finally:
        (tmp_path / "0.png").rename(folder / "masks/0.png")


def test_what_is_there_is_replaced_only_when_asked(found, capsys):
    folder, *_ = found
    before = (folder / "transforms.json").read_bytes()
    assert main(["poses", "--source", str(folder), "--board", str(BOARD)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (folder / "transforms.json").read_bytes() == before


def test_too_few_photos_write_nothing(found, tmp_path, capsys):
    folder, *_ = found
    for name in ("0.jpg", "no_board.jpg"):
        (tmp_path / name).write_bytes((folder / "images" / name).read_bytes())
    assert main(["poses", "--source", str(tmp_path)]) == 1
    assert "no_board.jpg: the board was not found" in capsys.readouterr().err
    assert not (tmp_path / "transforms.json").exists()


def test_the_page_has_true_size_and_its_board_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("page.png", "page.pdf"):
        assert main(["poses", "--print-board", name]) == 0
    for name in ("page.doc", "nowhere/page.pdf", "page.pdf"):  # no kind, no folder, there already
        assert main(["poses", "--print-board", name]) == 1
    image = cv2.imread("page.png", cv2.IMREAD_GRAYSCALE)
    np.testing.assert_allclose(image.shape, (210 / 25.4 * DPI, 297 / 25.4 * DPI), atol=1)
    corners, numbers, *_ = cv2.aruco.CharucoDetector(BOARD.charuco).detectBoard(image)
    assert len(numbers) == 6 * 4
    grid = corners.reshape(4, 6, 2)
    square = 30 / 25.4 * DPI
    np.testing.assert_allclose(np.diff(grid[..., 0], axis=1), square, atol=1)
    np.testing.assert_allclose(np.diff(grid[..., 1], axis=0), square, atol=1)
    box = f"/MediaBox [ 0 0 {297 / 25.4 * 72:.5f}"[:24]  # points of 1/72 inch
    assert box.encode() in (tmp_path / "page.pdf").read_bytes()


@pytest.mark.parametrize("text", ["charuco:7x5", "charuco:2x5:30mm", "charuco:40x30:5mm", "x"])
def test_a_board_that_cannot_be_is_refused(text):
    with pytest.raises(ValueError, match="board"):
        Board.parse(text)
    assert main(["poses", "--source", ".", "--board", text]) == 2


def test_markers_and_squares_lie_on_one_grid():
    """Drawn a module a pixel, the board read back is the board."""
    image = cv2.resize(BOARD.modules(), None, fx=8, fy=8, interpolation=cv2.INTER_NEAREST)
    padded = cv2.copyMakeBorder(image, 40, 40, 40, 40, cv2.BORDER_CONSTANT, value=255)
    corners, numbers, *_ = cv2.aruco.CharucoDetector(BOARD.charuco).detectBoard(padded)
    assert len(numbers) == 24
    np.testing.assert_allclose(corners[0].ravel(), 40 + 8 * MODULES - 0.5, atol=0.2)
    assert Board.parse(str(BOARD)) == BOARD
