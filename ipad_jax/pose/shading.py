"""Lamps that are not where they were for the training views: the rendering is lit anew as the query is.

Light that comes from afar depends on a surface's direction alone, and smoothly: nine spherical harmonics hold
99 % of it (Ramamoorthi and Hanrahan, 2001). So the squared colours of a query (a picture's gamma is about 2)
are the rendering's, times a sum of harmonics of the surface's normal, one a channel, and a gloss that depends
on where the mirrored ray goes. That is few numbers for thousands of pixels, found by least squares that a
defect has no say in. Cast shadows are more than that, and where the field's surface is uneven its normals are
wrong by some degrees: so the rendering and the good views in this light stand beside those in their own, for
queries whose light differs more than any training view's.
"""

import dataclasses

import numpy as np

from ipad_jax.pose.comparison import edges
from ipad_jax.pose.object_views import Lens
from ipad_jax.pose.pictures import Picture

REACH = 0.045  # of the picture's longer side: how far around a pixel its surface is looked at
ACROSS = 3  # places in that reach, along each axis and either way
SAME_COLOUR = 0.06  # from 0 to 1: so alike lie on one face, mostly
SAME_DEPTH = 0.02  # of the way to the object
SAME_SIDE = 0.45  # difference of two normals
SMOOTHED = 4  # times
SCALE = 0.08  # of the residuals' weights, in colour from 0 to 1
SHARP = 0.02  # colour a pixel: where edges are, a fit says little
ROUNDS = 6
RIDGE = 1e-3  # of the mean square, towards the light as it was
FACTORS = (0.1, 6.0)  # of squared colours


@dataclasses.dataclass(frozen=True)
class Light:
    """How a query is lit, beside the training views.

    Attributes:
      factor: of squared colours, float32 [h, w, 3]; 1 where nothing is known.
      added: to squared colours, float32 [h, w, 1].
      change: root mean square difference of the rendering's colours by it, on the object.
    """

    factor: np.ndarray
    added: np.ndarray
    change: float

    def on(self, rgb: np.ndarray) -> np.ndarray:
        """Colours float32 [h, w, 3] in the training views' light from this pose, as this light shows them."""
        square = np.square(np.clip(rgb, 0, 1)) * self.factor + self.added
        return np.sqrt(np.clip(square, 0, 1)).astype(np.float32)


def light_of(query: np.ndarray, picture: Picture, pose: np.ndarray, lens: Lens) -> Light:
    """The light of a query float32 [h, w, 3] in [0, 1], by its rendering from its pose [4, 4]."""
    shape = picture.opacity.shape
    factor, added = np.ones((*shape, 3), np.float32), np.zeros((*shape, 1), np.float32)
    solid = (picture.opacity > 0.9) & (picture.distance > 0)
    if solid.sum() < 100:  # fewer pixels than would say anything of 36 numbers
        return Light(factor, added, 0.0)
    rows, columns = np.nonzero(solid)
    window = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    normal = normals(picture, lens)
    inside = np.nonzero(solid[window])
    facing = normal[window][inside] @ pose[:3, :3].T
    rays = lens.directions().reshape(*shape, 3)[window][inside] @ pose[:3, :3].T
    mirrored = rays - 2 * (rays * facing).sum(-1, keepdims=True) * facing
    rendered = np.square(np.clip(picture.rgb[window][inside], 0, 1))
    seen = query[window][inside]
    sharp = edges(picture.rgb)[window][inside]
    diffuse, gloss = _harmonics(facing), _harmonics(mirrored)
    of_factor, of_added = _fitted(seen, rendered, diffuse, gloss, 1 / np.square(SHARP + sharp))
    share = picture.opacity[window][inside][:, None]
    factor[window][inside] = 1 + share * (np.clip(diffuse @ of_factor.T, *FACTORS) - 1)
    added[window][inside] = share * (gloss @ of_added)[:, None]
    light = Light(factor, added, 0.0)
    moved = np.square(light.on(picture.rgb) - picture.rgb)[solid].sum(-1)
    return dataclasses.replace(light, change=float(np.sqrt(moved.mean())))


def normals(picture: Picture, lens: Lens) -> np.ndarray:
    """Directions that a picture's surfaces face, in the camera's axes: float32 [h, w, 3]; 0 where nothing is.

    A plane through each point's neighbours on the same face, those of like colour and depth: the inverse of
    the depth is linear on a plane's picture. Then smoothed among neighbours that face alike.
    """
    solid = (picture.opacity > 0.9) & (picture.distance > 0)
    found = np.zeros((*solid.shape, 3), np.float32)
    if not solid.any():
        return found
    rows, columns = np.nonzero(solid)
    window = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    rays = lens.directions().reshape(*solid.shape, 3)[window]
    solid, rgb = solid[window], picture.rgb[window].astype(np.float32)
    inverse = np.where(solid, -1 / np.minimum(picture.distance[window] * rays[..., 2], -1e-6), 0)
    inverse = inverse.astype(np.float32)
    reach = max(2, round(REACH * max(lens.width, lens.height)))
    places = _disc(reach)
    alike = _moved(solid, places) & solid
    apart = np.square(_moved(rgb, places) - rgb).sum(-1) / (2 * SAME_COLOUR**2)
    alike = alike * np.exp(-apart)
    deeper = _moved(inverse, places) - inverse
    nearest = np.median(inverse[solid])
    across = places / np.array([-lens.fy, lens.fx])  # up and right, on the plane at depth 1
    spread = SAME_DEPTH + np.linalg.norm(across, axis=1) / (2 * nearest)
    weights = alike * np.exp(-np.square(deeper / nearest / spread[:, None, None]) / 2)
    up, right = across.T.astype(np.float32)
    ones = np.ones_like(up)
    total = np.maximum(weights.sum(0), 1e-9)
    of_place = np.stack([right, up, right * right, up * up, right * up])
    x, y, xx, yy, xy = np.tensordot(of_place, weights, 1) / total
    z, xz, yz = np.tensordot(np.stack([ones, right, up]), weights * deeper, 1) / total
    small = 1e-2 / (lens.fx * lens.fy)
    xx, yy, xy = xx - x * x + small, yy - y * y + small, xy - x * y
    xz, yz = xz - x * z, yz - y * z
    determinant = xx * yy - xy * xy
    a, b = (yy * xz - xy * yz) / determinant, (xx * yz - xy * xz) / determinant
    at = -rays / rays[..., 2:]  # of depth 1
    c = inverse - a * at[..., 0] - b * at[..., 1]
    normal = _unit(-np.stack([a, b, -c], axis=-1)) * solid[..., None]
    for _ in range(SMOOTHED):
        around = _moved(normal, places)
        like = np.exp(-np.square(around - normal).sum(-1) / (2 * SAME_SIDE**2)) * alike
        normal = _unit((like[..., None] * around).sum(0)) * solid[..., None]
    found[window] = normal
    return found


def _fitted(
    seen: np.ndarray,
    rendered: np.ndarray,
    diffuse: np.ndarray,
    gloss: np.ndarray,
    weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the factor [3, 9] and of the gloss [9], by least squares reweighted as Geman and McClure do.

    Args: colours seen [n, 3], squared colours rendered [n, 3], harmonics [n, 9] each, weights [n].
    """
    terms = diffuse.shape[1]
    size = 4 * terms
    slope = 1 / np.maximum(2 * seen, 0.15)  # of colours by their squares, limited where it is dark
    wanted = (np.square(seen) * slope).T
    tables = [
        np.hstack([diffuse * rendered[:, c, None], gloss]) * slope[:, c, None] for c in range(3)
    ]
    places = [np.r_[c * terms : (c + 1) * terms, 3 * terms : size] for c in range(3)]
    as_it_was = np.zeros(size)
    as_it_was[: 3 * terms : terms] = 1
    found = as_it_was
    for _ in range(ROUNDS):
        off = [table @ found[at] - own for table, at, own in zip(tables, places, wanted)]
        own = weights * np.square(SCALE**2 / (SCALE**2 + np.square(off).sum(0)))
        normal, right = np.zeros((size, size)), np.zeros(size)
        for table, at, target in zip(tables, places, wanted):
            weighted = table.T * own
            normal[np.ix_(at, at)] += weighted @ table
            right[at] += weighted @ target
        ridge = RIDGE * np.trace(normal) / size
        found = np.linalg.solve(normal + ridge * np.eye(size), right + ridge * as_it_was)
    return found[: 3 * terms].reshape(3, terms), found[3 * terms :]


def _harmonics(directions: np.ndarray) -> np.ndarray:
    """The nine of degree 0 to 2, without their factors: [n, 3] -> [n, 9]."""
    x, y, z = directions.T
    return np.stack(
        [np.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], axis=-1
    )


def _disc(reach: int) -> np.ndarray:
    """Rows and columns of places in a disc about 0, evenly: [n, 2]."""
    steps = np.unique(np.round(np.linspace(-reach, reach, 2 * ACROSS + 1)).astype(int))
    places = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    return places[np.hypot(*places.T) <= reach]


def _moved(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """What lies at each place from every pixel: [h, w, ...] -> [n, h, w, ...]; 0 outside."""
    height, width = values.shape[:2]
    reach = int(np.abs(places).max())
    padded = np.pad(values, ((reach, reach),) * 2 + ((0, 0),) * (values.ndim - 2))
    return np.stack(
        [padded[reach + r : reach + r + height, reach + c : reach + c + width] for r, c in places]
    )


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
