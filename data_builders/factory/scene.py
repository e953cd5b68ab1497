"""Surroundings of a machine: camera, light, colours, sensor; and the scripts of its videos.

What drifts here (light, shake, speed of a cycle, the pieces' small differences) is NORMAL, in
training and test alike.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from ipad_jax.data_builders.factory.devices import DEVICES
from ipad_jax.data_builders.factory.faults import Script, new_pieces, new_tool
from ipad_jax.data_builders.factory.render import View

LOOKS = ("synthetic", "real")

LIGHT_DRIFT = 0.18  # amplitude of each of two slow waves of the light, share
LIGHT_LEVEL = (0.85, 1.15)  # level of a video
WAVE_SECONDS = (2.0, 9.0)
SHAKE = 0.0045  # standard deviation of the camera's aim, share of the picture's height
BUMP = (0.012, 0.028)  # first swing of a knock against the camera, share of the picture's height
BUMPS_PER_SECOND = 0.12
SPEED_SPREAD = 0.10  # a cycle's speed lies within +- this share
SINGLE_SPREAD = 0.05  # the same for single-cycle folders
SENSOR_NOISE = {"synthetic": 0.6, "real": 3.0}  # standard deviation in grey levels of 255

# target x, y, z, distance, azimuth and elevation in degrees (azimuth 0 looks along +y), focal
CAMERAS = {
    "conveyor": ((0.0, 0.15, 0.55), 6.6, -28.0, 33.0, 2.75),
    "lift": ((0.0, 0.0, 0.80), 6.8, -24.0, 24.0, 2.75),
    "drill": ((0.0, 0.0, 0.85), 6.6, -26.0, 26.0, 2.85),
    "arm": ((0.0, -0.2, 0.65), 6.8, -18.0, 30.0, 2.75),
    "crane": ((0.0, 0.0, 0.95), 7.2, -26.0, 22.0, 2.75),
    "turntable": ((0.0, 0.1, 0.80), 6.4, -24.0, 34.0, 3.1),
}
CAMERA_OF_REAL = (14.0, 6.0, -0.25)  # added to azimuth and elevation, to the focal length

# Workpiece colours, linear RGB, by device.
PIECE_COLOURS = {
    "conveyor": ((0.72, 0.50, 0.22),),
    "lift": ((0.60, 0.36, 0.14),),
    "drill": ((0.45, 0.50, 0.55),),
    "arm": ((0.12, 0.42, 0.30),),
    "crane": ((0.10, 0.25, 0.60),),
    "turntable": ((0.70, 0.62, 0.45),),
}


@dataclass(frozen=True)
class Scene:
    """What all videos of a scene share."""

    device: str
    look: str
    seed: int
    camera: np.ndarray  # [8] target (3), distance, azimuth, elevation, roll (radians), focal
    sun: np.ndarray  # [2] azimuth, elevation in radians
    colours: np.ndarray  # [S, 3] of the workpieces


def generator(scene_seed: int, device: str, look: str, *numbers: int) -> np.random.Generator:
    """Random numbers for one purpose: the same for the same arguments, unlike for others."""
    return np.random.default_rng(
        [scene_seed, zlib.crc32(device.encode()), LOOKS.index(look), *numbers]
    )


def new_scene(device: str, look: str, seed: int) -> Scene:
    """The scene of a device, look and seed.

    Raises:
        ValueError: unknown device or look, negative seed.
    """
    if device not in DEVICES:
        raise ValueError(f"device={device!r}: expected one of {', '.join(DEVICES)}.")
    if look not in LOOKS:
        raise ValueError(f"look={look!r}: expected one of {', '.join(LOOKS)}.")
    if seed < 0:
        raise ValueError(f"seed={seed} must not be negative.")
    rng = generator(seed, device, look, 99)
    target, distance, azimuth, elevation, focal = CAMERAS[device]
    if look == "real":
        azimuth, elevation = azimuth + CAMERA_OF_REAL[0], elevation + CAMERA_OF_REAL[1]
        focal = focal + CAMERA_OF_REAL[2]
    azimuth, elevation = azimuth + rng.uniform(-5, 5), elevation + rng.uniform(-3, 3)
    camera = [*target, distance, *np.deg2rad([azimuth, elevation, rng.uniform(-1, 1)]), focal]
    sun = np.deg2rad([rng.uniform(-60, -35), rng.uniform(48, 60)])
    colours = np.asarray(PIECE_COLOURS[device]) * rng.uniform(0.9, 1.1, 3)
    return Scene(device, look, seed, np.asarray(camera), sun, colours)


def waves(
    rng: np.random.Generator, num_frames: int, fps: float, seconds: tuple[float, float], count: int
) -> np.ndarray:
    """Sum of `count` sine waves of random period and phase, each of amplitude 1; [F]."""
    time = np.arange(num_frames)[:, None] / fps
    period, start = rng.uniform(*seconds, count), rng.uniform(0, 2 * np.pi, count)
    return np.sin(2 * np.pi * time / period + start).sum(1)


def knocks(rng: np.random.Generator, num_frames: int, fps: float) -> np.ndarray:
    """Decaying swings of about 6 Hz at random times, [F], in shares of the picture's height."""
    time = np.arange(num_frames) / fps
    total = np.zeros(num_frames)
    for _ in range(rng.poisson(BUMPS_PER_SECOND * num_frames / fps)):
        since = time - rng.uniform(0, time[-1])
        swing = np.exp(-since.clip(0) / 0.25) * np.sin(2 * np.pi * rng.uniform(4, 7) * since)
        total += np.where(since > 0, rng.uniform(*BUMP) * swing, 0.0)
    return total


def new_view(scene: Scene, num_frames: int, fps: float, rng: np.random.Generator) -> View:
    """Camera and light over a video."""
    real = scene.look == "real"
    x, y, z, distance, azimuth, elevation, roll, focal = scene.camera

    def shake() -> np.ndarray:
        still = SHAKE * waves(rng, num_frames, fps, (0.15, 1.2), 3) / np.sqrt(1.5)
        return 2.0 * (still + knocks(rng, num_frames, fps))  # the picture is 2 high in focal units

    aside, upward = shake() / focal, shake() / focal
    roll = roll + 0.5 * shake()
    ones = np.ones(num_frames)

    def stack(*columns: np.ndarray | float) -> np.ndarray:
        return np.stack([column * ones for column in columns], -1)

    back = np.asarray(
        [
            np.sin(azimuth) * np.cos(elevation),
            -np.cos(azimuth) * np.cos(elevation),
            np.sin(elevation),
        ]
    )
    origin = np.asarray([x, y, z]) + distance * back
    right0 = np.asarray([np.cos(azimuth), np.sin(azimuth), 0.0])
    forward = -back + aside[:, None] * right0 + upward[:, None] * np.cross(right0, -back)
    forward /= np.linalg.norm(forward, axis=-1, keepdims=True)
    level = np.cross(forward, [0.0, 0.0, 1.0])
    level /= np.linalg.norm(level, axis=-1, keepdims=True)
    above = np.cross(level, forward)
    c, s = np.cos(roll)[:, None], np.sin(roll)[:, None]
    axes = np.stack([c * level + s * above, c * above - s * level, forward], 1)

    level_of_light = rng.uniform(*LIGHT_LEVEL)
    drift = 1.0 + LIGHT_DRIFT * waves(rng, num_frames, fps, WAVE_SECONDS, 2)
    light = (level_of_light * drift)[:, None]
    warmth = 0.05 * waves(rng, num_frames, fps, WAVE_SECONDS, 1)
    sun_azimuth = scene.sun[0] + 0.10 * waves(rng, num_frames, fps, WAVE_SECONDS, 1)
    sun_elevation = scene.sun[1] + 0.04 * waves(rng, num_frames, fps, WAVE_SECONDS, 1)
    sun = stack(
        np.sin(sun_azimuth) * np.cos(sun_elevation),
        -np.cos(sun_azimuth) * np.cos(sun_elevation),
        np.sin(sun_elevation),
    )
    if real:
        sun_base, sky_base = (0.82, 0.88, 0.72), (0.40, 0.44, 0.42)
        floor, wall = (0.30, 0.29, 0.27), (0.34, 0.35, 0.31)
        light = light * (1.0 + 0.015 * waves(rng, num_frames, fps, (0.1, 0.3), 1))[:, None]
    else:
        sun_base, sky_base = (1.10, 1.00, 0.86), (0.38, 0.44, 0.54)
        floor, wall = (0.46, 0.48, 0.50), (0.52, 0.58, 0.62)
    tone = np.stack([1 + warmth, ones, 1 - warmth], -1)
    sky_light = 1.0 + 0.5 * (light - 1.0)  # the sky follows the lamp by half
    columns = {
        "origin": stack(*origin),
        "axes": axes,
        "focal": focal * ones,
        "sun": sun,
        "sun_colour": light * tone * sun_base,
        "sky_colour": sky_light * np.asarray(sky_base),
        "floor_colour": stack(*floor),
        "wall_colour": stack(*wall),
        "wall_y": 2.6 * ones,
        "grain": (0.09 if real else 0.0) * ones,
    }
    return View(**{name: column.astype(np.float32) for name, column in columns.items()})


def cycle_times(
    rng: np.random.Generator, start: float, num_cycles: float, cycle_frames: float, spread: float
) -> np.ndarray:
    """Machine time [F] from `start` to `start + num_cycles`, each cycle at its own speed.

    A run that starts at 0 for one cycle holds exactly one cycle, frame 0 at phase 0.
    """
    end = start + num_cycles
    first, last = int(np.floor(start)), int(np.ceil(end))
    lengths = np.maximum(
        np.rint(cycle_frames * rng.uniform(1 - spread, 1 + spread, last - first)), 8
    )
    frames = np.concatenate([[0.0], np.cumsum(lengths)])
    cycles = np.arange(first, last + 1, dtype=float)
    begin = np.interp(start, cycles, frames)
    at = np.arange(np.floor(np.interp(end, cycles, frames) - begin + 1e-9)) + begin
    return np.interp(at, frames, cycles)


def new_script(scene: Scene, u: np.ndarray, rng: np.random.Generator) -> Script:
    """A normal video's script for machine times `u`."""
    pieces = new_pieces(rng, int(u[0]) - 4, int(u[-1]) + 2, scene.colours)
    return Script(u, pieces, new_tool(len(u)))
