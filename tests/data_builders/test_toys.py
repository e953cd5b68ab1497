"""Toys: the same seed gives the same bytes, masks are where the defect is, cameras are MAD's."""

import json

import cv2
import numpy as np
import pytest

from ipad_jax.data_builders.toys import animals, defects, switches, write
from ipad_jax.data_builders.toys.cast import BOX, CYLINDER, Solid, cast
from ipad_jax.data_builders.toys.toys_dataset_builder import Builder, ToysConfig

FOCAL = 40 / 2 / np.tan(write.ANGLE / 2)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys") / "hound"
    write.write_toy(folder, "hound", 0, (12, 2, 2), 40)
    return folder


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_seed_gives_the_same_bytes(toy, tmp_path):
    write.write_toy(tmp_path / "again", "hound", 0, (12, 2, 2), 40)
    assert files(tmp_path / "again") == files(toy)
    write.write_toy(tmp_path / "other", "hound", 1, (12, 2, 2), 40)
    assert files(tmp_path / "other") != files(toy)


def test_true_poses_are_apart_from_those_that_train(toy):
    train = json.loads((toy / "transforms.json").read_text())["frames"]
    test = json.loads((toy / write.TRUE_POSES).read_text())["frames"]
    assert [frame["file_path"].split("/")[1] for frame in train] == ["train"] * 12
    assert len(test) == 2 + 3 * 2
    assert all(frame["file_path"].startswith("./test/") for frame in test)


def test_a_mask_is_where_the_defect_changes_the_picture(toy):
    """The sound animal from the true pose differs inside the mask, and by nothing but noise outside."""
    animal = animals.build("hound")
    poses = {
        frame["file_path"]: np.array(frame["transform_matrix"])
        for frame in json.loads((toy / write.TRUE_POSES).read_text())["frames"]
    }
    for kind in defects.KINDS:
        for number in range(2):
            pose = poses[f"./test/{kind}/{number}.png"]
            sound = cast(animal.solids, pose, FOCAL, 40).image
            image = cv2.imread(str(toy / f"test/{kind}/{number}.png"))[..., ::-1]
            mask = cv2.imread(str(toy / f"ground_truth/{kind}/{number}_mask.png"), 0) > 0
            change = np.abs(image.astype(int) - sound).max(-1)
            assert write.SHARE[0] < mask.mean() < write.SHARE[1]
            assert np.median(change[mask]) >= write.MIN_LEVELS - 4 * write.NOISE
            # a pixel of which less than half shows the defect is not marked: at the rim, a thin tip
            rim = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3))) > 0
            assert (change[~rim] > 6 * write.NOISE).sum() <= 3


@pytest.mark.parametrize("switch", switches.SWITCHES)
def test_a_switch_changes_test_views_alone(switch, toy, tmp_path):
    write.write_toy(tmp_path, "hound", 0, (12, 2, 2), 40, switch=switch)
    plain, harder = files(toy), files(tmp_path)
    assert plain.keys() == harder.keys()
    for path in plain:
        same = plain[path] == harder[path]
        assert same or path.parts[0] in ("test", "ground_truth", write.TRUE_POSES), path
        assert not (same and path.parts[0] == "test"), path


def test_a_switch_turns_the_camera_the_lamps_or_puts_things_behind():
    solids = animals.build("hound").solids
    pose = write.looking_at_origin(np.array([1.8, 1.2, 2.0]))
    plain = cast(solids, pose, FOCAL, 40)

    def of(switch):
        view = switches.switched(pose, switch, np.random.default_rng(0), FOCAL, 40)
        return view, view.picture(solids, FOCAL, 40)

    view, _ = of("roll")
    np.testing.assert_allclose(view.pose[:3, 2], pose[:3, 2])  # it looks the same way
    ratio = np.linalg.norm(view.pose[:3, 3]) / np.linalg.norm(pose[:3, 3])
    assert 0.9 <= ratio <= 1.1
    quarter = cast(solids, switches.rolled(pose, 90), FOCAL, 40).image
    turned = np.rot90(plain.image, -1)  # a camera that turns left sees the picture turn right
    assert np.abs(quarter.astype(int) - turned).mean() < 1
    lit = of("light")[1]
    np.testing.assert_array_equal(lit.shown, plain.shown)
    inside = (plain.shown >= 0).all(-1)
    assert np.abs(lit.image.astype(int) - plain.image)[inside].max() > 10
    cluttered = of("clutter")[1]
    np.testing.assert_array_equal(cluttered.shown, plain.shown)
    np.testing.assert_array_equal(cluttered.image[inside], plain.image[inside])
    assert len(np.unique(cluttered.image[~inside], axis=0)) > 50


def test_the_name_of_a_switched_toy_says_what_it_is_trained_as():
    names = [config.name for config in Builder.BUILDER_CONFIGS]
    assert {"cat", "cat_roll", "duck_clutter", "starfish"} <= set(names)
    assert "turtle_roll" not in names
    small = ToysConfig(scene="cat_roll", size=48, counts=(24, 1, 1))
    assert small.name == "cat_roll_48px_n24-1-1"
    assert small.trained_as == "cat_48px_n24-1-1"


def test_a_symmetric_animal_looks_the_same_from_four_sides_but_for_its_mark():
    """By shapes and colours, lamps aside."""
    from_above = write.looking_at_origin(np.array([0.0, 1e-3, 3.0]))
    solids = animals.build("starfish").solids
    shown = cast(solids, from_above, FOCAL, 40).shown
    colours = np.array([*(s.colour for s in solids), (1, 1, 1)])[shown].mean(2)
    differs = np.abs(colours - np.rot90(colours)).max(-1) > 0.15
    lime = np.abs(colours - animals.COLOURS["lime"]).max(-1) < 0.05
    assert 0 < lime.sum() < 40
    near = cv2.dilate(np.rot90(lime).astype(np.uint8) | lime, np.ones((5, 5))) > 0
    assert differs.any()
    assert not (differs & ~near).any()


def test_cameras_are_mads():
    """14 latitudes, poles crowded, one hole of 40 degrees, no roll, axes through the origin."""
    grid = write.camera_grid()
    assert grid.shape == (210, 3)
    latitude = np.degrees(np.arcsin(grid[:, 2]))
    np.testing.assert_allclose(np.unique(latitude.round(3))[[0, -1]], [-85, 85])
    longitude = np.unique(np.degrees(np.arctan2(grid[:, 1], grid[:, 0])).round(3) % 360)
    gaps = np.diff(np.append(longitude, longitude[0] + 360))
    assert sorted(gaps.round(1))[-2:] == [22.9, 40.0]
    pose = write.looking_at_origin(grid[17] * 3)
    np.testing.assert_allclose(pose[:3, :3].T @ pose[:3, :3], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(pose[:3, 2] * 3, pose[:3, 3])
    assert abs(pose[2, 0]) < 1e-12


@pytest.mark.parametrize("name", animals.ANIMALS)
def test_an_animal_fits_the_ball_and_no_part_floats(name):
    animal = animals.build(name)
    boxes = []
    for solid in animal.solids:
        half = np.array(solid.half)
        boxes.append((np.array(solid.centre), half[[0, 0, 2]] if solid.kind == CYLINDER else half))
    assert max(np.linalg.norm(np.abs(c) + h) for c, h in boxes) <= animals.RADIUS * 1.02

    def is_one(numbers):
        reached, waiting = set(), [numbers[0]]
        while waiting:
            a = waiting.pop()
            reached.add(a)
            for b in set(numbers) - reached - set(waiting):
                apart = np.abs(boxes[a][0] - boxes[b][0]) - boxes[a][1] - boxes[b][1]
                if (apart < 1e-6).all():
                    waiting.append(b)
        return len(reached) == len(numbers)

    everything = range(len(boxes))
    assert is_one(list(everything))
    for group in animal.loose:
        assert is_one([n for n in everything if n not in group]), group


@pytest.mark.parametrize("kind", [BOX, CYLINDER])
def test_a_solid_is_seen_where_a_fine_walk_meets_it(kind):
    rng = np.random.default_rng(kind)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    solid = Solid((0.1, -0.2, 0.05), (0.5, 0.3, 0.4), (0.5, 0.5, 0.5), kind, turn)
    pose = write.looking_at_origin(np.array([1.8, 1.2, 2.0]))
    shown = cast([solid], pose, 30.0, 20).shown
    samples = shown.reshape(20, 20, 2, 2).swapaxes(1, 2).reshape(40, 40) == 0
    at = (np.arange(40) + 0.5 - 20) / 60
    x, y = np.meshgrid(at, -at)
    rays = np.stack([x, y, -np.ones_like(x)], -1) @ pose[:3, :3].T
    walk = np.linspace(1, 5, 800)
    local = (pose[:3, 3] + rays[:, :, None] * walk[:, None] - solid.centre) @ turn
    half = np.array(solid.half)
    inside = (np.abs(local) < half).all(-1)
    if kind == CYLINDER:
        inside = (np.hypot(local[..., 0], local[..., 1]) < half[0]) & (
            np.abs(local[..., 2]) < half[2]
        )
    assert (inside.any(-1) != samples).mean() < 0.01  # a grazing ray may slip between two steps
    assert 0.05 < samples.mean() < 0.6


def test_an_unknown_animal_or_switch_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no animal 'dragon'; choose from hound"):
        animals.build("dragon")
    with pytest.raises(ValueError, match="no switch 'fog'; choose from roll"):
        write.write_toy(tmp_path, "hound", switch="fog")
