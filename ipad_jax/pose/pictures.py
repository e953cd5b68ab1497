"""Pictures of a field from any pose: only rays that can meet the object are followed, none is left out."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ipad_jax.pose.marching import occupied_interval, render_rays
from ipad_jax.pose.object_views import Lens

CHUNK = 512  # rays of one compiled program on a CPU: few are filled up in vain
LARGE_CHUNK = 16384  # on an accelerator
Counts = tuple[int, int, int]


class Picture(NamedTuple):
    """rgb float32 [h, w, 3] in [0, 1], opacity [h, w], distance [h, w] along the ray; 0 where nothing is."""

    rgb: np.ndarray
    opacity: np.ndarray
    distance: np.ndarray


class Renderer:
    """Renders a field inside its occupied voxels.

    Args:
      field: as `HashField`.
      occupied: bool [side] * 3 over the box [-1, 1]^3.
      background: float32 [3] in [0, 1].
    """

    def __init__(self, field: Any, occupied: np.ndarray, background: np.ndarray):
        self.graph, self.state = nnx.split(field)
        self.occupied = jnp.asarray(occupied)
        self.background = jnp.asarray(background, jnp.float32)
        self._interval = jax.jit(occupied_interval, static_argnames="steps")
        self._render = jax.jit(partial(render_chunk, self.graph), static_argnames="counts")

    def pictures(
        self,
        poses: Sequence[np.ndarray] | np.ndarray,
        lens: Lens | Sequence[Lens],
        counts: Counts,
        steps: int = 96,
    ) -> list[Picture]:
        """Pictures from poses world_from_camera [4, 4].

        Args:
          lens: of all, or of each; then of one size.
          counts: of samples, as of `place_samples`.
        """
        lenses = [lens] * len(poses) if isinstance(lens, Lens) else lens
        parts = []
        for pose, own in zip(poses, lenses, strict=True):
            rays = _directions(own)
            directions = (rays @ np.asarray(pose)[:3, :3].T).astype(np.float32)
            origins = np.broadcast_to(np.asarray(pose)[:3, 3].astype(np.float32), directions.shape)
            met, near, far = map(
                np.asarray, self._interval(self.occupied, origins, directions, steps=steps)
            )
            chosen = np.flatnonzero(met)
            parts.append((chosen, origins[chosen], directions[chosen], near[chosen], far[chosen]))
        rows = [np.concatenate(columns) for columns in list(zip(*parts))[1:]]
        found = self._follow(rows, counts)
        shape, first, pictures = (lenses[0].height, lenses[0].width), 0, []
        for chosen, *_ in parts:
            own = slice(first, first + len(chosen))
            first = own.stop
            rgb = np.tile(np.asarray(self.background), (shape[0] * shape[1], 1))
            opacity = np.zeros(len(rgb), np.float32)
            distance = np.zeros(len(rgb), np.float32)
            rgb[chosen], opacity[chosen] = found[own, :3], found[own, 3]
            distance[chosen] = found[own, 4] / np.maximum(found[own, 3], 1e-6)
            pictures.append(
                Picture(rgb.reshape(*shape, 3), opacity.reshape(shape), distance.reshape(shape))
            )
        return pictures

    def _follow(self, columns: Sequence[np.ndarray], counts: Counts) -> np.ndarray:
        """rgb, opacity, distance of any number of rays (origins, directions, near, far): float32 [n, 5]."""
        total = len(columns[0])
        chunk = CHUNK if jax.default_backend() == "cpu" else LARGE_CHUNK
        found = np.empty((total, 5), np.float32)
        for first in range(0, total, chunk):
            rows = slice(first, min(first + chunk, total))
            more = chunk - (rows.stop - first)
            batch = [
                np.pad(x[rows], ((0, more),) + ((0, 0),) * (x.ndim - 1), mode="edge")
                for x in columns
            ]
            out = self._render(self.state, *batch, self.background, counts=counts)
            found[rows] = np.asarray(out)[: rows.stop - first]
        return found


def compile_chunk(field: Any, device: Any, rays: int, counts: Counts) -> jax.stages.Compiled:
    """The program of so many rays of `Renderer`; the field's arrays and the device need not exist."""
    graph, state = nnx.split(field)
    here = jax.sharding.SingleDeviceSharding(device)

    def placed(shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=here)

    weights = jax.tree.map(lambda x: placed(x.shape, x.dtype), state)
    each = [placed(shape) for shape in ((rays, 3), (rays, 3), (rays,), (rays,))]
    render = jax.jit(partial(render_chunk, graph), static_argnames="counts")
    return render.lower(weights, *each, placed((3,)), counts=counts).compile()


def render_chunk(
    graph: Any, state: Any, o, d, near, far, background, *, counts: Counts
) -> jax.Array:
    """Colour, opacity and depth of rays: float32 [n, 5]."""
    field = nnx.merge(graph, state)
    seen, _ = render_rays(field, o, d, near, far, background, counts)
    return jnp.concatenate([seen.rgb, seen.opacity[:, None], seen.depth[:, None]], axis=1)


@lru_cache(maxsize=16)
def _directions(lens: Lens) -> np.ndarray:
    return lens.directions()
