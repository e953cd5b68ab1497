"""The rendered machines: geometry, scripts, faults, and the folder that is written."""

import filecmp
import json
from functools import partial

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipad_jax.data_builders import frame_folder
from ipad_jax.data_builders.factory import difficulty, faults, render, scene, sdf, write
from ipad_jax.data_builders.factory.devices import DEVICES
from ipad_jax.data_builders.factory.machine import HIDDEN_Z, PALETTES, State, ease, turn

SMALL = {"size": (24, 16), "cycle_frames": 16, "num_single": 1, "num_long": 1, "num_test": 2}


def files_of(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    return write.render_scene(tmp_path_factory.mktemp("factory"), "conveyor", chunk=8, **SMALL)


def script_of(device="conveyor", num_frames=40, num_cycles=2):
    made = scene.new_scene(device, "synthetic", 0)
    u = np.arange(num_frames) * num_cycles / num_frames
    return scene.new_script(made, u, np.random.default_rng(0))


def test_box_distance_against_the_nearest_of_many_surface_points():
    half = np.array([0.3, 0.5, 0.2])
    points = np.random.default_rng(0).uniform(-1, 1, (200, 3))
    nearest = np.clip(points, -half, half)
    outside = np.linalg.norm(points - nearest, axis=-1)
    inside = (np.abs(points) - half).max(-1)
    expected = np.where(outside > 0, outside, inside)
    got = sdf.rounded_solid(tuple(jnp.asarray(points.T)), tuple(half), 0.0, False)
    np.testing.assert_allclose(got, expected, atol=1e-6)  # float32


def test_cylinder_and_sphere_distances():
    points = np.random.default_rng(1).uniform(-1, 1, (200, 3))
    p = tuple(jnp.asarray(points.T))
    r, z = np.hypot(points[:, 0], points[:, 1]) - 0.4, np.abs(points[:, 2]) - 0.3
    expected = np.hypot(r.clip(0), z.clip(0)) + np.minimum(np.maximum(r, z), 0)
    np.testing.assert_allclose(
        sdf.rounded_solid(p, (0.4, 0.4, 0.3), 0.0, True), expected, atol=1e-6
    )
    sphere = sdf.rounded_solid(p, (0.4, 0.4, 0.4), 0.4, False)
    np.testing.assert_allclose(sphere, np.linalg.norm(points, axis=-1) - 0.4, atol=1e-6)


def test_turn_is_a_rotation_and_ease_rests_at_its_keys():
    for axis in "xyz":
        matrix = turn(axis, np.array([0.3, -2.0]))
        unit = np.broadcast_to(np.eye(3), (2, 3, 3))
        np.testing.assert_allclose(matrix @ matrix.swapaxes(1, 2), unit, atol=1e-12)
    at = np.array([0.0, 0.2, 0.5, 0.9])
    np.testing.assert_allclose(ease(at, [(0.2, 1.0), (0.5, 3.0)]), [1, 1, 3, 3])


@pytest.mark.parametrize("device", DEVICES)
def test_a_cycle_ends_where_it_begins(device):
    """No part may jump at the boundary, except what belongs to a piece (inside a housing by then)."""
    made = scene.new_scene(device, "synthetic", 0)
    u = np.array([0.9999, 1.0001])
    script = scene.new_script(made, u, np.random.default_rng(0))
    parts = DEVICES[device](State(u, script.pieces, script.tool, PALETTES["synthetic"])).pack()
    jump = np.abs(parts.centre[0] - parts.centre[1]).max(-1)
    # a piece, its stain, an extra one; the drill's hole; two pieces with their caps on the table
    num_pieces = {"drill": 4, "turntable": 7}.get(device, 3)
    assert (jump > 0.01).sum() <= num_pieces
    assert np.isfinite(parts.low).all()
    assert (parts.low[:, 2] > HIDDEN_Z / 2).all()


@pytest.mark.parametrize("name", faults.SPEEDS)
def test_disturbed_time_is_back_in_step_and_never_runs_backwards(name):
    u = np.arange(100) / 50
    late = faults.disturbed_time(u, 10, 0.5, 25.0, name)
    assert (np.diff(late) >= -1e-12).all()
    np.testing.assert_array_equal(late[:11], u[:11])
    np.testing.assert_allclose(late[50:], u[50:])
    assert np.abs(late - u).max() > 0.05


@pytest.mark.parametrize(
    ("kind", "variant"), [(k, v) for k, vs in faults.VARIANTS.items() for v in vs]
)
def test_a_fault_leaves_the_script_it_was_given_alone(kind, variant):
    script, untouched = script_of(), script_of()
    changed = faults.apply_fault(script, kind, variant, 1, np.random.default_rng(3), 25.0)
    np.testing.assert_array_equal(script.u, untouched.u)
    for name, column in vars(untouched.pieces).items():
        np.testing.assert_array_equal(getattr(script.pieces, name), column)
    fault = changed.faults[-1]
    assert (fault.kind, fault.variant) == (kind, variant)
    assert 0 <= fault.first < fault.last <= len(script.u)
    np.testing.assert_array_equal(changed.u[: fault.first], script.u[: fault.first])


def test_unknown_names_are_refused_with_the_choices():
    with pytest.raises(ValueError, match="device='press': expected one of conveyor"):
        scene.new_scene("press", "synthetic", 0)
    with pytest.raises(ValueError, match="look='night': expected one of synthetic, real"):
        scene.new_scene("lift", "night", 0)
    with pytest.raises(ValueError, match="variant='melted'"):
        faults.apply_fault(script_of(), "logic", "melted", 0, np.random.default_rng(0), 25.0)


@pytest.mark.parametrize(
    ("name", "value"), [("num_long", -1), ("cycle_frames", 3), ("size", (4, 16))]
)
def test_counts_that_make_no_scene_are_refused_and_leave_nothing(tmp_path, name, value):
    with pytest.raises(ValueError, match="must be at least"):
        write.render_scene(tmp_path / "new", "lift", **{**SMALL, name: value})
    assert not (tmp_path / "new").exists()


def test_single_cycles_begin_at_0_and_long_videos_cross_the_boundary():
    u = scene.cycle_times(np.random.default_rng(0), 0.0, 1, 40, 0.05)
    assert u[0] == 0
    assert u[-1] < 1
    np.testing.assert_allclose(np.diff(u), 1 / len(u))
    u = scene.cycle_times(np.random.default_rng(0), 0.4, 3, 40, 0.1)
    assert (np.floor(u[0]), np.floor(u[-1])) == (0, 3)
    speeds = np.diff(u) * 40
    assert speeds.min() > 0.85
    assert speeds.max() < 1.15
    assert speeds.max() - speeds.min() > 0.01


def test_every_third_test_video_is_normal_and_all_kinds_come_up():
    plans = write.plan_tests(12, 3, np.random.default_rng(0))
    assert [not plan["faults"] for plan in plans] == [i % 3 == 2 for i in range(12)]
    assert {kind for plan in plans for _, kind, _ in plan["faults"]} == set(faults.KINDS[1:])


@pytest.mark.slow
def test_same_seed_same_bytes_whatever_the_chunk(rendered, tmp_path):
    again = write.render_scene(tmp_path, "conveyor", chunk=5, **SMALL)
    names = files_of(rendered)
    assert names == files_of(again)
    _, different, broken = filecmp.cmpfiles(rendered, again, names, shallow=False)
    assert not different
    assert not broken
    assert [path.name for path in tmp_path.iterdir()] == [
        "conveyor_synthetic"
    ]  # nothing half-built


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_only_samples_that_need_it_are_computed_and_each_gets_its_own(monkeypatch, share):
    monkeypatch.setattr(render, "TILE", 16)
    rng = np.random.default_rng(0)
    needed, value = jnp.asarray(rng.random(77) < share), jnp.asarray(rng.random(77))
    other = jnp.full(77, jnp.nan)
    (squared,) = render.where_needed(needed, lambda v: (v * v,), (value,), (other,))
    np.testing.assert_array_equal(squared, jnp.where(needed, value * value, other))


def test_pictures_are_those_of_computing_everything_everywhere(monkeypatch):
    size = (24, 32)
    place = scene.new_scene("turntable", "real", 3)
    u = np.linspace(0, 1, 3, endpoint=False)
    script = scene.new_script(place, u, np.random.default_rng(0))
    view = scene.new_view(place, len(u), 25.0, np.random.default_rng(1))
    state = State(script.u, script.pieces, script.tool, PALETTES["real"])
    parts, noise = DEVICES["turntable"](state).pack(), jnp.asarray(render.noise_picture(3))

    def everywhere(needed, compute, samples, otherwise):
        return tuple(map(partial(jnp.where, needed), compute(*samples), otherwise))

    quick = render.render(parts, view, size, textured=True, seed=3)
    monkeypatch.setattr(render, "where_needed", everywhere)
    frame = jax.jit(lambda *one: render.render_frame(*one, noise, size, True))
    for number, picture in enumerate(quick):
        whole = frame(*jax.tree.map(lambda column, n=number: column[n], (parts, view)))
        # the compiler may fuse a product and a sum in one and not in the other: a level by rounding
        assert np.abs(picture - np.asarray(whole) * 255).max() < 1.5


def test_another_seed_gives_other_frames(rendered, tmp_path):
    other = write.render_scene(tmp_path, "conveyor", seed=1, chunk=8, **SMALL)
    name = "training/frames/01/000.jpg"
    assert (rendered / name).read_bytes() != (other / name).read_bytes()


def test_labels_masks_and_kinds_agree_and_the_reader_takes_them(rendered):
    found = frame_folder.read_scene(rendered)
    assert found.kinds == faults.KINDS
    assert [len(video.masks) for video in found.train] == [0, 0]
    single, long = found.train
    assert (single.cycle.max(), single.phase[0]) == (0, 0)
    assert long.cycle.max() > long.cycle.min()
    seen = 0
    for video in found.test:
        np.testing.assert_array_equal(video.label == 1, video.kind > 0)
        assert sorted(video.masks) == np.flatnonzero(video.label).tolist()
        seen += len(video.masks)
        for path in video.masks.values():
            mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert mask.shape == (16, 24)
            assert set(np.unique(mask)) <= {0, 255}
            assert (mask > 0).mean() >= write.MIN_MASK_SHARE
    listed = json.loads((rendered / "scene.json").read_text())["faults"]
    assert seen == sum(fault["visible_frames"] for video in listed.values() for fault in video) > 0


def test_mask_is_where_the_frame_differs_from_its_reference():
    made = scene.new_scene("lift", "synthetic", 0)
    script = script_of("lift", 8, 1)
    view = scene.new_view(made, 8, 25.0, np.random.default_rng(0))
    bad = faults.apply_fault(script, "logic", "missing", 0, np.random.default_rng(0), 25.0)
    masks, levels = write.differences(made, bad, script, view, (0, 8), (16, 24), 8)
    assert (levels[masks] > write.MASK_LEVELS).all()
    assert 0 < masks.mean() < 0.2
    same, levels = write.differences(made, script, script, view, (0, 8), (16, 24), 8)
    assert not same.any()
    assert not levels.any()


def test_difficulty_counts_what_was_written(rendered):
    rows = difficulty.measure(rendered)
    listed = json.loads((rendered / "scene.json").read_text())["faults"]
    assert rows["all"]["events"] == sum(len(video) for video in listed.values())
    assert all(0 <= row["auc_pooled"] <= 1 for row in rows.values())
