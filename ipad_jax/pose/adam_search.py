"""The published search: one start, 300 steps of Adam on the colours of random pixels (iNeRF, OmniposeAD).

iNeRF (arXiv 2012.05877) as PAD's code runs it (anomaly_nerf_lego.py, util/inerf_helpers.py), its habits kept:
- one start, the best of the retrieval, which nothing checks;
- pixels come from around SIFT's keypoints of the query, 3,072 a step without replacement;
- a plain mean square, so that a defect pulls as any other pixel;
- seven numbers, of which the rotation axis is never normalised: what comes out is no rotation exactly;
- the rate falls slowly, 300 steps are always done, and what the last one renders is taken, not the best.

Deviations: starts come from our retrieval, since LoFTR's weights are nobody's to ship; where keypoints cover
fewer pixels than a step draws, at which the published code stops with an error, the silhouette joins them
and, if need be, pixels are drawn twice; rays are followed in the hull, not from 2 to 6.
"""

import functools
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from ipad_jax.pose.cameras import Camera, pixel_rays
from ipad_jax.pose.marching import occupied_interval, render_rays
from ipad_jax.pose.pictures import Counts
from ipad_jax.pose.pose_search import FoundPose, Known, residual_of

STEPS = 300  # fixed in the code
PIXELS = 3072  # a step
RATE, DECAY, DECAY_STEPS = 0.01, 0.8, 100  # rate * 0.8 ** ((step + 1) / 100)
SPREAD = 1e-6  # standard deviation of the seven numbers at the start
AROUND, TIMES = 5, 3  # a keypoint is dilated three times by 5 x 5
SAMPLES: Counts = (24, 16, 0)  # along a ray; published 64 and 64

ADAM = optax.scale_by_adam()
_matmul = functools.partial(jnp.matmul, precision="highest")


def adam_search(
    image: np.ndarray,
    known: Known,
    *,
    steps: int = STEPS,
    pixels: int = PIXELS,
    samples: Counts = SAMPLES,
    seed: int = 0,
) -> FoundPose:
    """The pose of an image uint8 [h, w, 3] of the lens's size, as published; see the module's text.

    Args: `pixels` a step; `samples` along a ray; `seed` of which pixels.
    """
    renderer, lens, seen = known.renderer, known.lens, known.silhouette(image)
    start = jnp.asarray(known.starts(image, 1)[0], jnp.float32)
    interesting = np.flatnonzero(interest_region(image))
    if len(interesting) < pixels:
        interesting = np.union1d(interesting, np.flatnonzero(seen))
    if not len(interesting):  # nothing is there
        interesting = np.arange(seen.size)
    rng = np.random.default_rng(seed)
    again = len(interesting) < pixels
    drawn = np.stack([rng.choice(interesting, pixels, replace=again) for _ in range(steps)])
    query = image.astype(np.float32) / 255
    colours = query.reshape(-1, 3)[drawn]
    places = np.stack([drawn % lens.width + 0.5, drawn // lens.width + 0.5], -1).astype(np.float32)
    lens_numbers = (lens.fx, lens.fy, lens.cx, lens.cy)
    numbers = jnp.asarray(rng.normal(0, SPREAD, 7), jnp.float32)
    field = (renderer.state, renderer.occupied, renderer.background, start)
    memory, rendered = ADAM.init(numbers), numbers
    for step in range(steps):
        rendered = numbers
        batch = (places[step], colours[step])
        found = _step(renderer.graph, samples, *field, numbers, memory, step, *batch, lens_numbers)
        numbers, memory = found
    pose = np.asarray(_matmul(screw(rendered), start))
    picture = renderer.pictures([pose], lens, samples)[0]
    return FoundPose(pose, picture, residual_of(query, picture, seen))


def interest_region(image: np.ndarray) -> np.ndarray:
    """Around SIFT's keypoints of an image uint8 [h, w, 3], bool [h, w]."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height, width = image.shape[:2]
    found = np.zeros((height, width), np.uint8)
    for keypoint in cv2.SIFT.create().detect(grey):
        column, row = np.array(keypoint.pt).astype(int)
        found[min(row, height - 1), min(column, width - 1)] = 1
    return cv2.dilate(found, np.ones((AROUND, AROUND), np.uint8), iterations=TIMES) > 0


def screw(numbers: jax.Array) -> jax.Array:
    """The published motion of seven numbers (w, v, angle), w not of length 1: [7] -> [4, 4]."""
    w, v, angle = numbers[:3], numbers[3:6], numbers[6]
    x, y, z = w
    zero = jnp.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    cross = jnp.stack([jnp.stack(row) for row in rows])
    square, one = _matmul(cross, cross), jnp.eye(3)
    turn = one + jnp.sin(angle) * cross + (1 - jnp.cos(angle)) * square
    along = one * angle + (1 - jnp.cos(angle)) * cross + (angle - jnp.sin(angle)) * square
    upper = jnp.concatenate([turn, _matmul(along, v[:, None])], axis=1)
    return jnp.concatenate([upper, jnp.array([[0.0, 0.0, 0.0, 1.0]])])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _step(
    graph: Any, samples: Counts, state: Any, occupied: jax.Array, background: jax.Array, start: jax.Array,
    numbers: jax.Array, memory: Any, step: jax.Array, places: jax.Array, colours: jax.Array, lens: Any,
) -> tuple[jax.Array, Any]:  # fmt: skip
    """The next seven numbers and Adam's memory, from places [n, 2] and colours [n, 3] of a step."""
    field = nnx.merge(graph, state)

    def loss(numbers: jax.Array) -> jax.Array:
        fx, fy, cx, cy = lens
        rays = pixel_rays(Camera(fx, fy, cx, cy, _matmul(screw(numbers), start)), places)
        origins, directions = (jax.lax.stop_gradient(x) for x in rays)
        met, near, far = occupied_interval(occupied, origins, directions, steps=64)
        far = jnp.where(met, far, near)  # nothing lies between: the background
        seen, _ = render_rays(field, *rays, near, far, background, samples)
        return jnp.square(seen.rgb - colours).mean()

    moves: Any
    moves, memory = ADAM.update(jax.grad(loss)(numbers), memory)
    rate = RATE * DECAY ** ((step + 1) / DECAY_STEPS)
    return numbers - rate * moves, memory
