"""Pictures of solids on white, by where each sample's ray meets each solid: closed form, NumPy, no shadows.

Solids are boxes and upright cylinders, each looked at only where its picture can be. Light is soft and does
not move with the camera. Without shadows a defect changes nothing beside itself, so that its mask is exact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

SAMPLES = 2  # along each side of a pixel
BOX, CYLINDER = 0, 1
SEAM = 0.012  # width of the darker rim of a brick's face, in the world's units
# Towards the light, its strength; the first is the main one and makes the highlight.
LIGHTS = (((0.45, -0.35, 0.82), 0.62), ((-0.70, 0.55, -0.25), 0.22))
SKY, GROUND = 0.52, 0.34  # light from above and from below


@dataclasses.dataclass(frozen=True)
class Solid:
    """A box or an upright cylinder (radius half[0], half height half[2])."""

    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    colour: tuple[float, float, float]  # linear, 0..1
    kind: int = BOX
    turn: np.ndarray | None = None  # [3, 3], columns are its axes in the world
    gloss: float = 0.25


@dataclasses.dataclass(frozen=True)
class Stain:
    """A blot on whatever surface is within `radius` of `centre`, its outline wavy."""

    centre: tuple[float, float, float]
    radius: float
    colour: tuple[float, float, float]
    wave: tuple[float, float, float]  # phases of the outline


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture and what each sample shows.

    Attributes:
        image: uint8 [h, w, 3] RGB.
        shown: int16 [h, w, SAMPLES ** 2], number of the solid; -1 the background, -2 the stain.
    """

    image: np.ndarray
    shown: np.ndarray


def cast(
    solids: Sequence[Solid],
    world_from_camera: np.ndarray,
    focal_px: float,
    size: int,
    stain: Stain | None = None,
    light: np.ndarray | None = None,
) -> Picture:
    """The picture of solids, from a camera in OpenGL's axes with its principal point in the middle.

    Args:
        world_from_camera: [4, 4]. focal_px: of a picture of `size` x `size`.
        light: [3, 3], turns the lights; None: as they are.
    """
    side = size * SAMPLES
    scale = focal_px * SAMPLES
    rotation, eye = world_from_camera[:3, :3], world_from_camera[:3, 3]
    places = (np.arange(side, dtype=np.float32) + 0.5 - side / 2) / np.float32(scale)
    depth = np.full((side, side), np.inf, np.float32)
    shown = np.full((side, side), -1, np.int16)
    normal = np.zeros((side, side, 3), np.float32)
    rim = np.ones((side, side), np.float32)
    for number, solid in enumerate(solids):
        window = _window(solid, rotation, eye, scale, side)
        if window is None:
            continue
        x, y = np.meshgrid(places[window[1]], -places[window[0]])
        rays = np.stack([x, y, np.full_like(x, -1)], -1) @ rotation.T.astype(np.float32)
        found, own_normal, own_rim = _meet(solid, rays.reshape(-1, 3), eye.astype(np.float32))
        found = found.reshape(x.shape)
        nearer = found < depth[window]
        depth[window][nearer] = found[nearer]
        shown[window][nearer] = number
        normal[window][nearer] = own_normal.reshape(*x.shape, 3)[nearer]
        rim[window][nearer] = own_rim.reshape(x.shape)[nearer]
    hit = np.isfinite(depth)
    rows, columns = np.nonzero(hit)
    x, y = places[columns], -places[rows]
    rays = np.stack([x, y, np.full_like(x, -1)], -1) @ rotation.T.astype(np.float32)
    points = eye.astype(np.float32) + rays * depth[hit][:, None]
    colours = np.array([s.colour for s in solids], np.float32)[shown[hit]] * rim[hit][:, None]
    gloss = np.array([s.gloss for s in solids], np.float32)[shown[hit]]
    if stain is not None:
        marked = _inside(stain, points)
        colours[marked] = stain.colour
        shown[rows[marked], columns[marked]] = -2
    image = np.ones((side, side, 3), np.float32)
    image[hit] = _shade(colours, gloss, normal[hit], rays, light)
    image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    blocks = shown.reshape(size, SAMPLES, size, SAMPLES).swapaxes(1, 2)
    return Picture(
        np.rint(image * 255).astype(np.uint8), blocks.reshape(size, size, SAMPLES * SAMPLES)
    )


def _window(
    solid: Solid, rotation: np.ndarray, eye: np.ndarray, scale: float, side: int
) -> tuple[slice, slice] | None:
    """Rows and columns of the samples that can show a solid; None where there are none."""
    signs = np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, -1).T
    half = _half(solid)
    corners = signs * half
    if solid.turn is not None:
        corners = corners @ solid.turn.T
    seen = (corners + solid.centre - eye) @ rotation
    if (seen[:, 2] > -1e-3).any():
        raise ValueError(f"the camera at {eye.tolist()} is in the midst of the object.")
    column = side / 2 - scale * seen[:, 0] / seen[:, 2]
    row = side / 2 + scale * seen[:, 1] / seen[:, 2]
    first = np.floor([row.min(), column.min()]).astype(int)
    last = np.ceil([row.max(), column.max()]).astype(int) + 1
    first, last = np.clip(first, 0, side), np.clip(last, 0, side)
    if (last <= first).any():
        return None
    return slice(first[0], last[0]), slice(first[1], last[1])


def _half(solid: Solid) -> np.ndarray:
    """Half sizes of its box."""
    half = np.array(solid.half, np.float32)
    return half if solid.kind == BOX else half[[0, 0, 2]]


def _meet(
    solid: Solid, rays: np.ndarray, eye: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where rays [n, 3] from the eye enter a solid: distance [n] (inf: nowhere), normal [n, 3], rim [n]."""
    origin = eye - np.array(solid.centre, np.float32)
    if solid.turn is not None:
        turn = solid.turn.astype(np.float32)
        origin, rays = origin @ turn, rays @ turn
    half = _half(solid)
    safe = np.where(np.abs(rays) < 1e-9, np.float32(1e-9), rays)
    first, second = (-half - origin) / safe, (half - origin) / safe
    near, far = np.minimum(first, second), np.maximum(first, second)
    if solid.kind == CYLINDER:
        radius = np.float32(solid.half[0])
        a = (rays[:, :2] ** 2).sum(1) + np.float32(1e-12)
        b = rays[:, :2] @ origin[:2]
        root = b * b - a * ((origin[:2] ** 2).sum() - radius * radius)
        missed = root < 0
        root = np.sqrt(np.maximum(root, 0))
        near = np.stack([(-b - root) / a, near[:, 2]], 1)
        far = np.stack([(-b + root) / a, far[:, 2]], 1)
        near[missed, 0] = np.inf
    axis = near.argmax(1)
    enter = np.take_along_axis(near, axis[:, None], 1)[:, 0]
    leave = far.min(1)
    outside = ~((enter < leave) & (enter > 0))
    distance = np.where(outside, np.float32(np.inf), enter)
    point = origin + rays * np.where(outside, 0, enter)[:, None].astype(np.float32)
    normal = np.zeros_like(point)
    if solid.kind == CYLINDER:
        cap = axis == 1
        normal[~cap, :2] = point[~cap, :2] / radius
        normal[cap, 2] = -np.sign(rays[cap, 2])
        edge = half[2] - np.abs(point[:, 2])
        edge = np.where(cap, radius - np.hypot(point[:, 0], point[:, 1]), edge)
    else:
        np.put_along_axis(
            normal, axis[:, None], -np.sign(np.take_along_axis(rays, axis[:, None], 1)), 1
        )
        gap = half - np.abs(point)
        np.put_along_axis(gap, axis[:, None], np.float32(1e3), 1)
        edge = gap.min(1)
    rim = 0.72 + 0.28 * np.clip(edge / SEAM, 0, 1)
    if solid.turn is not None:
        normal = normal @ solid.turn.T.astype(np.float32)
    return distance, normal, rim.astype(np.float32)


def _inside(stain: Stain, points: np.ndarray) -> np.ndarray:
    """Which points [n, 3] of the surface are stained."""
    away = points - np.array(stain.centre, np.float32)
    waves = sum(np.sin(9 * away[:, i] / stain.radius / 2 + stain.wave[i]) for i in range(3))
    return np.linalg.norm(away, axis=1) < stain.radius * (1 + 0.16 * waves)


def _shade(
    colours: np.ndarray,
    gloss: np.ndarray,
    normal: np.ndarray,
    rays: np.ndarray,
    turn: np.ndarray | None,
) -> np.ndarray:
    """Colours of lit surfaces [n, 3], with the gamma of a picture."""
    turn = np.eye(3) if turn is None else turn
    total = np.full(len(colours), 0, np.float32)
    up = normal @ (turn @ [0.0, 0.0, 1.0]).astype(np.float32)
    total += GROUND + (SKY - GROUND) * (0.5 + 0.5 * up)
    shine = np.zeros_like(total)
    for number, (towards, strength) in enumerate(LIGHTS):
        towards = turn @ (np.array(towards) / np.linalg.norm(towards))
        towards = towards.astype(np.float32)
        total += strength * np.maximum(normal @ towards, 0)
        if number == 0:
            half_way = towards - rays / np.linalg.norm(rays, axis=1, keepdims=True)
            half_way /= np.linalg.norm(half_way, axis=1, keepdims=True)
            shine = gloss * np.maximum((normal * half_way).sum(1), 0) ** 24
    lit = colours * total[:, None] + shine[:, None]
    return np.sqrt(np.clip(lit, 0, 1)).astype(np.float32)
