"""Faults made up for training where there are none: textures or cuttings laid over parts of good pictures.

Everything is drawn on the device from a key. The published DRAEM lays pictures of an archive of textures
(DTD) over; ours are drawn (octaves of coloured noise, stripes), or parts of other pictures of the batch,
moved and recoloured, half and half, unless textures are given. That costs where real defects look like
photographs of textures.
"""

import jax
import jax.numpy as jnp

BUMPS = (2, 5, 12)  # of a region's noise along a side, one of them; DRAEM has 1 to 32


def smooth_noise(
    key: jax.Array, size: tuple[int, int], cells: tuple[int, int], channels: int = 1
) -> jax.Array:
    """Noise with about `cells` bumps along each side, float32 [h, w, channels] in about [-1, 1]."""
    coarse = jax.random.normal(key, (cells[0] + 1, cells[1] + 1, channels))
    return jax.image.resize(coarse, (*size, channels), "cubic")


def blobs(key: jax.Array, size: tuple[int, int]) -> jax.Array:
    """A random region, bool [h, w]: smooth noise above a level, as DRAEM's Perlin noise above 0.5."""
    keys = jax.random.split(key, 3)
    chosen = jax.random.categorical(keys[0], jnp.zeros(len(BUMPS)))
    drawn = [smooth_noise(keys[0], size, (n, n))[..., 0] for n in BUMPS]
    found = sum(jnp.where(chosen == i, x, 0.0) for i, x in enumerate(drawn))
    # where it lies at all: a soft window at a random place, so that faults are local
    centre = jax.random.uniform(keys[1], (2,), minval=0.1, maxval=0.9)
    reach = jax.random.uniform(keys[2], (), minval=0.08, maxval=0.35)
    y, x = (jnp.linspace(0, 1, n) for n in size)
    away = jnp.hypot(y[:, None] - centre[0], x[None] - centre[1]) / reach
    return found - jnp.square(away) > -0.2


def texture(key: jax.Array, size: tuple[int, int]) -> jax.Array:
    """A drawn texture, float32 [h, w, 3] in [0, 1]."""
    keys = jax.random.split(key, 8)
    base = jax.random.uniform(keys[0], (1, 1, 3))
    total = jnp.zeros((*size, 3))
    for octave, cells in enumerate((4, 16, 48)):
        strength = jax.random.uniform(keys[1 + octave], (), maxval=0.5)
        total = total + strength * smooth_noise(keys[4], size, (cells, cells), 3)
    angle = jax.random.uniform(keys[5], (), maxval=jnp.pi)
    y, x = jnp.meshgrid(*(jnp.linspace(0, 1, n) for n in size), indexing="ij")
    rate = jax.random.uniform(keys[6], (), minval=8, maxval=60)
    stripes = jnp.sin(2 * jnp.pi * rate * (x * jnp.cos(angle) + y * jnp.sin(angle)))
    weight = jax.random.uniform(keys[7], (), minval=-0.3, maxval=0.3)
    return jnp.clip(base + total + weight * stripes[..., None], 0, 1)


def elsewhere(key: jax.Array, picture: jax.Array) -> jax.Array:
    """A picture [h, w, 3] moved, turned over and recoloured."""
    keys = jax.random.split(key, 4)
    h, w = picture.shape[:2]
    move = jax.random.randint(keys[0], (2,), jnp.array([h // 8, w // 8]), jnp.array([h, w]))
    moved = jnp.roll(picture, move, axis=(0, 1))
    moved = jnp.where(jax.random.bernoulli(keys[1]), moved[::-1], moved)
    gain = jax.random.uniform(keys[2], (1, 1, 3), minval=0.5, maxval=1.5)
    shift = jax.random.uniform(keys[3], (1, 1, 3), minval=-0.2, maxval=0.2)
    return jnp.clip(moved * gain + shift, 0, 1)


def with_faults(
    key: jax.Array, pictures: jax.Array, textures: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Pictures with a fault laid over every second one, and where (DRAEM, eq. 1).

    A tenth of the faults has an empty region, as some of the public code's.

    Args:
      pictures: float32 [b, h, w, 3] in [0, 1].
      textures: of the same shape and range, what is laid over, moved and recoloured; None: see above.

    Returns:
      pictures, and bool [b, h, w].
    """
    size = (pictures.shape[1], pictures.shape[2])

    def one(key: jax.Array, picture: jax.Array, other: jax.Array) -> tuple[jax.Array, jax.Array]:
        keys = jax.random.split(key, 6)
        over = elsewhere(keys[2], other)
        if textures is None:
            over = jnp.where(jax.random.bernoulli(keys[0]), texture(keys[1], size), over)
        mask = blobs(keys[3], size) & jax.random.bernoulli(keys[4])
        beta = jax.random.uniform(keys[5], (), maxval=0.8)  # of the original that shines through
        laid = beta * picture + (1 - beta) * over
        return jnp.where(mask[..., None], laid, picture), mask

    keys = jax.random.split(key, len(pictures))
    others = jnp.roll(pictures, 1, axis=0) if textures is None else textures
    return jax.vmap(one)(keys, pictures, others)


def pasted(key: jax.Array, picture: jax.Array, scar: bool) -> jax.Array:
    """A picture with a cutting of itself laid over another place (CutPaste, sec. 2.2).

    Args:
      picture: float32 [h, w, 3] in [0, 1].
      scar: a thin one, turned by up to 45 degrees; else a rectangle of 2 to 15 % of the picture.
    """
    size = jnp.array(picture.shape[:2], jnp.float32)
    keys = jax.random.split(key, 6)
    if scar:  # 2 to 16 by 10 to 25 pixels of 256
        low, high = jnp.array([10.0, 2.0]), jnp.array([25.0, 16.0])
        sides = jax.random.uniform(keys[0], (2,), minval=low, maxval=high) * jnp.min(size) / 256
        angle = jax.random.uniform(keys[1], (), minval=-jnp.pi / 4, maxval=jnp.pi / 4)
    else:
        area = jax.random.uniform(keys[0], (), minval=0.02, maxval=0.15) * size[0] * size[1]
        aspect = jnp.exp(jax.random.uniform(keys[1], (), minval=jnp.log(0.3), maxval=jnp.log(3.3)))
        sides = jnp.sqrt(area * jnp.stack([aspect, 1 / aspect]))
        angle = jnp.zeros(())
    half = jnp.minimum(sides, size) / 2
    source, place = (
        jax.random.uniform(k, (2,), minval=half, maxval=size - half) for k in keys[2:4]
    )
    rows, columns = (jnp.arange(n) + 0.5 for n in picture.shape[:2])
    y, x = rows[:, None] - place[0], columns[None] - place[1]
    down = jnp.cos(angle) * y - jnp.sin(angle) * x  # in the cutting's own directions
    right = jnp.sin(angle) * y + jnp.cos(angle) * x
    inside = (jnp.abs(down) < half[0]) & (jnp.abs(right) < half[1])

    def at(way: jax.Array, centre: jax.Array, number: int) -> jax.Array:
        return jnp.clip(jnp.floor(way + centre), 0, number - 1).astype(jnp.int32)

    cutting = picture[at(down, source[0], len(rows)), at(right, source[1], len(columns))]
    return jnp.where(inside[..., None], recoloured(keys[4], cutting), picture)


def recoloured(key: jax.Array, picture: jax.Array, strength: float = 0.1) -> jax.Array:
    """A picture [h, w, 3] in [0, 1] of another brightness, contrast and saturation, each by a factor."""
    keys = jax.random.split(key, 3)
    bright, contrast, colour = (
        jax.random.uniform(k, (), minval=1 - strength, maxval=1 + strength) for k in keys
    )
    x = picture * bright
    x = jnp.mean(x) + contrast * (x - jnp.mean(x))
    grey = jnp.mean(x, axis=-1, keepdims=True)
    return jnp.clip(grey + colour * (x - grey), 0, 1)


def cut_out(key: jax.Array, picture: jax.Array) -> jax.Array:
    """A picture [h, w, 3] with a grey square over a random place, a quarter of its sides at most."""
    keys = jax.random.split(key, 2)
    size = jnp.array(picture.shape[:2], jnp.float32)
    half = jax.random.uniform(keys[0], (), minval=1 / 16, maxval=1 / 8) * size
    place = jax.random.uniform(keys[1], (2,), maxval=size)
    y, x = (jnp.arange(n) + 0.5 for n in picture.shape[:2])
    inside = (jnp.abs(y[:, None] - place[0]) < half[0]) & (jnp.abs(x[None] - place[1]) < half[1])
    return jnp.where(inside[..., None], 0.5, picture)
