"""A small signed-distance-field ray marcher in JAX: parts, camera and light in, pictures out.

A frame is a list of solid parts (`Parts`, arrays with a leading frame axis) and a `View` (camera,
light). Floor and wall are planes met analytically; the parts are marched inside the box that holds
them all, first by one thick ray for each block of 4x4 samples, then by every sample from where its
thick ray stopped. Shading: a sun with soft shadow, a sky, ambient occlusion, a highlight; four
samples a pixel. The distance to the machine is what costs, and most samples see floor or wall in full
light: only samples that need it compute it (`where_needed`). `jax.jit`, frame by frame, in chunks of a
fixed number of frames.

Not physically based and not meant to be: 3-D geometry, occlusion and moving shadows are what makes
footage of a machine hard for a detector.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ipad_jax.data_builders.factory import sdf
from ipad_jax.data_builders.factory.sdf import Point

SUPERSAMPLE = 2  # samples along each side of a pixel
BLOCK = 4  # samples along each side that share one thick ray
TILE = 256  # samples computed together: so few that XLA leaves a step to one core, and cores take chunks
COARSE_STEPS, FINE_STEPS, SHADOW_STEPS = 24, 12, 10
OCCLUSION_LEVELS = ((0.07, 3.0), (0.30, 1.2))  # height above, weight
# From the machine's box; twice the largest height and some: further off nothing hides.
OCCLUSION_REACH = 0.7


class Parts(NamedTuple):
    """N solids over F frames; float32 where nothing else is said."""

    centre: np.ndarray  # [F, N, 3]
    rotation: np.ndarray  # [F, N, 3, 3], columns are the part's own axes
    half: np.ndarray  # [F, N, 3] half sizes (cylinder: radius, -, half height)
    radius: np.ndarray  # [F, N] rounding of the edges
    is_cylinder: np.ndarray  # [F, N] bool; else a box
    colour: np.ndarray  # [F, N, 3] linear, 0..1
    stripe: np.ndarray  # [F, N, 3] (stripes per unit along own x, offset in stripes, depth 0..1)
    gloss: np.ndarray  # [F, N] strength of the highlight
    low: np.ndarray  # [F, 3] corner of the box that holds all visible parts
    high: np.ndarray  # [F, 3]


class View(NamedTuple):
    """Camera, light and surroundings over F frames; everything float32."""

    origin: np.ndarray  # [F, 3]
    axes: np.ndarray  # [F, 3, 3], rows: right, up, forward
    focal: np.ndarray  # [F] in half heights of the picture
    sun: np.ndarray  # [F, 3] unit vector towards the light
    sun_colour: np.ndarray  # [F, 3]
    sky_colour: np.ndarray  # [F, 3]
    floor_colour: np.ndarray  # [F, 3]
    wall_colour: np.ndarray  # [F, 3]
    wall_y: np.ndarray  # [F] the wall is the plane y = wall_y
    grain: np.ndarray  # [F] depth of the surface texture, 0 = none


def _rows(array: jax.Array) -> tuple[jax.Array, ...]:
    """The entries of the last axis as a tuple."""
    return tuple(array[..., i] for i in range(array.shape[-1]))


def local_point(p: Point, centre: jax.Array, rotation: jax.Array) -> Point:
    """`p` in the frame of a part at `centre` [3] with axes `rotation` [3, 3]."""
    x, y, z = (p[axis] - centre[axis] for axis in range(3))
    r = rotation
    return tuple(r[0, i] * x + r[1, i] * y + r[2, i] * z for i in range(3))  # type: ignore[return-value]


def part_distance(p: Point, part: Parts) -> jax.Array:
    """Distance to one part (`part` holds no frame and no part axis)."""
    local = local_point(p, part.centre, part.rotation)
    return sdf.rounded_solid(local, _rows(part.half), part.radius, part.is_cylinder)


def _solids(parts: Parts) -> Parts:
    """`parts` of a frame with only the columns that have a part axis, to scan over."""
    return parts._replace(low=None, high=None)


def machine_distance(p: Point, parts: Parts) -> jax.Array:
    """Distance to the nearest part.

    A scan over the parts, not one unrolled expression: measured on the CPU it is as fast (the points
    stay in the cache) and compiles in a tenth of the time.
    """

    def nearer(best, part: Parts):
        return jnp.minimum(best, part_distance(p, part)), None

    far = jnp.full_like(p[0], 1e6)
    return jax.lax.scan(nearer, far, _solids(parts), unroll=4)[0]


def nearest_part(p: Point, parts: Parts) -> jax.Array:
    """Index of the nearest part."""

    def nearer(state, numbered):
        best, index = state
        number, part = numbered
        gap = part_distance(p, part)
        return (jnp.minimum(best, gap), jnp.where(gap < best, number, index)), None

    numbers = jnp.arange(len(parts.centre))
    state = (jnp.full_like(p[0], 1e6), jnp.zeros(p[0].shape, numbers.dtype))
    return jax.lax.scan(nearer, state, (numbers, _solids(parts)), unroll=2)[0][1]


def where_needed(
    needed: jax.Array,
    compute: Callable[..., tuple[jax.Array, ...]],
    samples: tuple[jax.Array, ...],
    otherwise: tuple[jax.Array, ...],
) -> tuple[jax.Array, ...]:
    """Results of the samples that need them, computed `TILE` samples at a time.

    Args:
        needed: bool [n].
        compute: from columns [TILE] of samples to columns [TILE], each sample by itself.
        samples: columns [n].
        otherwise: columns [n], the results of the others.
    """
    num_samples = len(needed)
    count = jnp.cumsum(needed.astype(jnp.int32))
    room = -(-num_samples // TILE) * TILE

    def tile(state):
        first, results = state
        wanted = first + 1 + jnp.arange(TILE, dtype=jnp.int32)
        at = jnp.searchsorted(count, wanted, method="scan_unrolled")
        at = jnp.minimum(at, num_samples - 1)  # past the last one: any sample
        found = compute(*(column[at] for column in samples))
        put = jax.lax.dynamic_update_slice
        return first + TILE, tuple(put(r, f, (first,)) for r, f in zip(results, found))

    empty = tuple(jnp.zeros(room, column.dtype) for column in otherwise)
    state = (jnp.int32(0), empty)
    _, results = jax.lax.while_loop(lambda state: state[0] < count[-1], tile, state)
    place = jnp.maximum(count - 1, 0)
    return tuple(jnp.where(needed, r[place], o) for r, o in zip(results, otherwise))


def march(
    origin: Point, direction: Point, start, stop, cone, parts: Parts, max_steps: int
) -> tuple[jax.Array, jax.Array]:
    """Walk rays by the distance to the nearest part until it is below `cone` times the way gone.

    Returns the way gone and whether the ray stopped at a part. Rays that are done stand still, so
    that the number of turns of the loop (the slowest ray of the chunk decides it) changes nothing.
    """

    def is_walking(state) -> jax.Array:
        step, _, walking, _ = state
        return (step < max_steps) & walking.any()

    def walk(state):
        step, t, walking, _ = state
        gap = machine_distance(sdf.along(origin, direction, t), parts)
        near = gap < cone * t
        t = jnp.where(walking & ~near, t + gap, t)
        return step + 1, t, walking & ~near & (t < stop), gap

    walking = start < stop
    state = (0, start, walking, jnp.full_like(start, 1e3))
    _, t, _, gap = jax.lax.while_loop(is_walking, walk, state)
    # a ray out of steps grazes an edge: near enough counts as met
    return t, walking & (t < stop) & (gap < 4.0 * cone * t)


CORNERS = np.array([(1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)], np.float32)


def surface_normal(p: Point, step, parts: Parts) -> Point:
    """Gradient of the distance by four evaluations on a tetrahedron."""

    def add(total, corner):
        away = tuple(a + corner[i] * step for i, a in enumerate(p))
        gap = machine_distance(away, parts)  # type: ignore[arg-type]
        return tuple(a + corner[i] * gap for i, a in enumerate(total)), None

    total, _ = jax.lax.scan(add, (jnp.zeros_like(p[0]),) * 3, jnp.asarray(CORNERS))
    return sdf.normalise(total)


def surface_colour(p: Point, blur, parts: Parts) -> tuple[Point, jax.Array]:
    """Colour and gloss of the nearest part; `blur` is the width of a sample, it softens stripes."""
    index = nearest_part(p, parts)
    centre, axis = parts.centre[index], parts.rotation[index][..., 0]
    local_x = sum((p[i] - centre[..., i]) * axis[..., i] for i in range(3))
    rate, offset, depth = _rows(parts.stripe[index])
    where = local_x * rate + offset
    saw = jnp.abs(where - jnp.floor(where) - 0.5) * 2.0  # 1 at a stripe's edge, 0 in its middle
    soft = jnp.maximum(blur * rate * 2.0, 0.05)
    shade = 1.0 - depth * jnp.clip((saw - 0.5) / soft + 0.5, 0.0, 1.0)
    colour = _rows(parts.colour[index] * shade[..., None])
    return colour, parts.gloss[index]  # type: ignore[return-value]


def soft_shadow(p: Point, sun: Point, enter, leave, parts: Parts) -> jax.Array:
    """Share of the light that reaches `p`, 0..1, with a penumbra that widens with the way.

    `enter`, `leave`: where the ray to the sun goes through the machine's box; outside all is light.
    """

    def is_open(state) -> jax.Array:
        step, t, light = state
        return (step < SHADOW_STEPS) & ((t < leave) & (light > 0)).any()

    def walk(state):
        step, t, light = state
        gap = machine_distance(sdf.along(p, sun, t), parts)
        inside = t < leave
        light = jnp.where(inside, jnp.minimum(light, 9.0 * gap / jnp.maximum(t, 0.02)), light)
        return step + 1, t + jnp.clip(gap, 0.03, 0.6), light

    start = jnp.maximum(enter, 0.03)
    light = jax.lax.while_loop(is_open, walk, (0, start, jnp.ones_like(start)))[2]
    light = jnp.clip(light, 0.0, 1.0)
    return light * light * (3.0 - 2.0 * light)


def occlusion(p: Point, normal: Point, parts: Parts | None) -> jax.Array:
    """Openness of the surroundings of `p`, 0..1, from the distance at some heights above it.

    `parts`: None far from the machine, where only the floor hides the sky.
    """
    hidden = jnp.zeros_like(p[0])
    for height, weight in OCCLUSION_LEVELS:
        above = sdf.along(p, normal, height)
        gap = above[2]
        if parts is not None:
            gap = jnp.minimum(machine_distance(above, parts), gap)
        hidden = hidden + weight * jnp.clip(height - gap, 0.0, height)
    return 1.0 / (1.0 + 1.6 * hidden)


def texture(noise: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    """Bilinear look-up in a periodic `noise` picture [k, k], k a power of 2; u, v in its pixels."""
    mask = noise.shape[0] - 1
    u0, v0 = jnp.floor(u), jnp.floor(v)
    fu, fv = u - u0, v - v0
    iu, iv = u0.astype(jnp.int32), v0.astype(jnp.int32)

    def at(a, b) -> jax.Array:
        return noise[a & mask, b & mask]

    top = at(iu, iv) * (1.0 - fu) + at(iu + 1, iv) * fu
    bottom = at(iu, iv + 1) * (1.0 - fu) + at(iu + 1, iv + 1) * fu
    return top * (1.0 - fv) + bottom * fv


def floor_shade(x: jax.Array, y: jax.Array, blur: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Darkening by the joints of the floor's slabs, and where its yellow line lies (both 0..1)."""

    def joint(a) -> jax.Array:
        away = jnp.abs(a * 0.8 - jnp.floor(a * 0.8 + 0.5)) / 0.8
        return jnp.clip(1.0 - away / (0.015 + blur), 0.0, 1.0) * (0.03 / (0.03 + blur))

    line = jnp.clip((0.07 - jnp.abs(y + 1.75)) / (blur + 0.01) + 0.5, 0.0, 1.0)
    return 1.0 - 0.25 * jnp.maximum(joint(x), joint(y)), line


def render_frame(
    parts: Parts, view: View, noise, size: tuple[int, int], textured: bool
) -> jax.Array:
    """One picture [height, width, 3] float32 in [0, 1]; `parts` and `view` without a frame axis."""
    height, width = size
    rows, columns = (
        -(-side * SUPERSAMPLE // BLOCK) for side in size
    )  # blocks, the last may overhang
    pixel = 2.0 / (height * SUPERSAMPLE)  # width of a sample at distance 1, times the focal length

    def rays(num_rows: int, num_columns: int, step: int) -> Point:
        v = 1.0 - (jnp.arange(num_rows) + 0.5) * (step * pixel)
        u = (jnp.arange(num_columns) + 0.5) * (step * pixel) - width / height
        u, v = jnp.tile(u, num_rows), jnp.repeat(v, num_columns)
        a = view.axes
        return sdf.normalise(
            tuple(u * a[0, i] + v * a[1, i] + view.focal * a[2, i] for i in range(3))  # type: ignore[arg-type]
        )

    def spread(values: jax.Array) -> jax.Array:
        values = values.reshape(rows, 1, columns, 1)
        return jnp.broadcast_to(values, (rows, BLOCK, columns, BLOCK)).reshape(-1)

    eye = _rows(view.origin)
    cone = pixel / view.focal
    thick = rays(rows, columns, BLOCK)
    # a thick ray is as wide as its block's diagonal: what it misses, no sample of the block meets
    thick_cone = cone * BLOCK * 0.75
    enter, leave = sdf.slab(eye, thick, parts.low - 0.05, parts.high + 0.05)
    margin = 1.0 + thick_cone
    start, _ = march(
        eye, thick, enter / margin, leave * margin + 0.1, thick_cone, parts, COARSE_STEPS
    )

    ray = rays(rows * BLOCK, columns * BLOCK, 1)
    to_floor = jnp.where(ray[2] < -1e-4, -eye[2] / jnp.minimum(ray[2], -1e-4), 1e3)
    to_wall = jnp.where(ray[1] > 1e-4, (view.wall_y - eye[1]) / jnp.maximum(ray[1], 1e-4), 1e3)
    background = jnp.minimum(to_floor, to_wall)
    enter, leave = sdf.slab(eye, ray, parts.low, parts.high)
    stop = jnp.minimum(background, leave)
    start = jnp.maximum(spread(start) * (1.0 - thick_cone), enter)

    def walk(x, y, z, start, stop):
        return march(eye, (x, y, z), start, stop, 0.5 * cone, parts, FINE_STEPS)

    t, met = where_needed(
        start < stop, walk, (*ray, start, stop), (start, jnp.zeros_like(start < stop))
    )
    t = jnp.where(met, t, background)
    p = sdf.along(eye, ray, t)
    blur = cone * t
    on_floor = to_floor < to_wall
    flat = (jnp.zeros_like(t), jnp.where(on_floor, 0.0, -1.0), jnp.where(on_floor, 1.0, 0.0))
    slabs, line = floor_shade(p[0], p[1], blur)
    panel = jnp.where(p[2] < 0.9, 0.72, 1.0)  # the wall's lower part is painted darker
    paint = (0.80, 0.55, 0.08)
    ground = [
        jnp.where(
            on_floor,
            view.floor_colour[c] * slabs * (1.0 - line) + 0.8 * paint[c] * line,
            view.wall_colour[c] * panel,
        )
        for c in range(3)
    ]

    def surface(x, y, z, blur):
        normal = surface_normal((x, y, z), 0.5 * blur + 1e-3, parts)
        colour, gloss = surface_colour((x, y, z), blur, parts)
        return *normal, *colour, gloss

    bare = (*flat, *ground, jnp.full_like(t, 0.05))
    *both, gloss = where_needed(met, surface, (*p, blur), bare)
    normal, colour = (both[0], both[1], both[2]), both[3:]
    if textured:
        side = jnp.where(on_floor & ~met, p[1], p[2])
        coarse = texture(noise, p[0] * 13.0 + 31.0, (side + 0.6 * p[1]) * 13.0)
        fine = texture(noise, p[0] * 57.0, (side + 0.6 * p[1]) * 57.0 + 17.0)
        mottle = 1.0 + view.grain * (coarse + 0.6 * fine)
        colour = [c * mottle for c in colour]

    sun = _rows(view.sun)
    facing = jnp.maximum(sdf.dot(normal, sun), 0.0)
    half_way = sdf.normalise(tuple(s - r for s, r in zip(sun, ray)))
    shine = jnp.maximum(sdf.dot(normal, half_way), 0.0)
    for _ in range(5):  # to the 32nd power
        shine = shine * shine
    shine = gloss * shine

    lifted = sdf.along(p, normal, 2.0 * blur + 0.01)
    enter, leave = sdf.slab(lifted, sun, parts.low, parts.high)
    may_hide = (jnp.maximum(enter, 0.03) < leave) & ((facing > 0) | (shine > 0))

    def shade(x, y, z, enter, leave):
        return (soft_shadow((x, y, z), sun, enter, leave, parts),)

    (shadow,) = where_needed(may_hide, shade, (*lifted, enter, leave), (jnp.ones_like(t),))
    near = jnp.ones_like(met)
    for axis in range(3):
        near &= p[axis] > parts.low[axis] - OCCLUSION_REACH
        near &= p[axis] < parts.high[axis] + OCCLUSION_REACH

    def openness(x, y, z, across, along, up):
        return (occlusion((x, y, z), (across, along, up), parts),)

    (open_sky,) = where_needed(near, openness, (*p, *normal), (occlusion(p, normal, None),))
    shine = shine * shadow
    up = 0.62 + 0.38 * normal[2]
    haze = 1.0 - 0.012 * jnp.maximum(t - 5.0, 0.0)
    pictures = []
    for c in range(3):
        light = view.sun_colour[c] * facing * shadow + view.sky_colour[c] * up * open_sky
        value = (colour[c] * light + view.sun_colour[c] * shine) * haze
        pictures.append(jnp.sqrt(jnp.clip(value / (1.0 + 0.18 * value), 0.0, 1.0)))  # gamma 2
    picture = jnp.stack(pictures, -1).reshape(rows * BLOCK, columns * BLOCK, 3)
    picture = picture[: height * SUPERSAMPLE, : width * SUPERSAMPLE]
    return picture.reshape(height, SUPERSAMPLE, width, SUPERSAMPLE, 3).mean((1, 3))


@partial(jax.jit, static_argnames=("size", "textured"))
def _render_chunk(parts, view, noise, size, textured) -> jax.Array:
    """uint8 [f, h, w, 3] of one chunk."""
    pictures = jax.lax.map(lambda one: render_frame(*one, noise, size, textured), (parts, view))
    return jnp.round(pictures * 255.0).astype(jnp.uint8)


def noise_picture(seed: int, side: int = 64) -> np.ndarray:
    """Periodic random texture [side, side] float32 in [-1, 1] that depends on the seed alone."""
    return np.random.default_rng([seed, 7]).uniform(-1, 1, (side, side)).astype(np.float32)


def render(
    parts: Parts,
    view: View,
    size: tuple[int, int],
    *,
    textured: bool = False,
    seed: int = 0,
    chunk: int = 8,
) -> np.ndarray:
    """Pictures of F frames without sensor noise.

    Args:
        parts, view: arrays with a leading axis of F frames.
        size: (height, width) in pixels; another size, chunk or number of parts compiles anew.
        textured: whether surfaces carry the noise texture (the `real` look).
        seed: of that texture.
        chunk: frames rendered at once; the pictures do not depend on it.

    Returns:
        uint8 [F, height, width, 3] RGB.
    """
    num_frames = len(parts.centre)
    if not num_frames:
        return np.zeros((0, *size, 3), np.uint8)
    noise = jnp.asarray(noise_picture(seed))

    def draw(first: int) -> np.ndarray:
        index = np.minimum(np.arange(first, first + chunk), num_frames - 1)  # pad: one shape only
        piece = jax.tree.map(lambda a: a[index], (parts, view))
        done = _render_chunk(*piece, noise, size=tuple(size), textured=textured)
        return np.asarray(done)[: num_frames - first]

    with ThreadPoolExecutor() as pool:
        return np.concatenate(list(pool.map(draw, range(0, num_frames, chunk))))
