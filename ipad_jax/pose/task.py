"""Objects from any side as a `Task`: a field learned from posed views, by which a query is posed and judged.

OmniposeAD (PAD, arXiv 2310.07716) with another field, another search and another comparison; see the files
of this room. What is shared with images of parts (threshold, scores, report, files) is that family's.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.image.task import Arrays, ImageTask, NormalImages
from ipad_jax.image.views import Views
from ipad_jax.pose.comparison import (
    fit_usual,
    least_difference,
    near_object,
    score_of,
    traits,
)
from ipad_jax.pose.hash_field import HashConfig, HashField
from ipad_jax.pose.lighting import object_gain
from ipad_jax.pose.marching import occupied_interval, render_rays
from ipad_jax.pose.object_views import ObjectViews, read_views
from ipad_jax.pose.pictures import Counts, Renderer
from ipad_jax.pose.pose_search import FINAL, residual_of
from ipad_jax.pose.retrieval import crop_of
from ipad_jax.pose.shading import light_of
from ipad_jax.pose.warping import GoodViews

POOL_STEPS = 128  # places along a ray at which the hull is looked at
FIT_LEAVES = (
    "data.size",
    "data.holdout_share",
    "data.holdout_min",
    "data.train_share",
    "model",
    "seed",
    "eval.blur_px",
)
PREDICTION_LEAVES = (
    *FIT_LEAVES,
    "optim",
    "total_steps",
    "eval.starts",
    "eval.connected",
    "eval.seek_focal",
    "eval.steps",
    "eval.pixels",
)
OCCUPIED_DENSITY = 0.5  # a unit of length; less lets a hundredth of a voxel's light be lost
OCCUPIED_SIDE = 96
# Training views that say what is usual of the light, and of all where none is held out.
USUAL_VIEWS = 24
FOLDS = 5  # of the views held out: each is judged by what is usual of the other four
Rows = tuple[np.ndarray, np.ndarray]
DISTANCE: Counts = (32, 12, 0)  # samples along rays whose distance alone counts


class OmniposeTask(ImageTask):
    """A field of one object, trained on rays of its views.

    A batch is {"origin", "direction", "colour": float32 [b, 3], "near", "far", "inside": float32 [b]};
    `inside` is 1 on the object's silhouette.

    Attributes:
      rendered: samples along a ray of the picture that a query is compared with.
    """

    rendered: Counts = FINAL
    family = "pose"
    unit = "rays"
    fit_leaves = FIT_LEAVES
    prediction_leaves = PREDICTION_LEAVES
    fit_uses_model = True

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        sizes = dict(config.model.to_dict())
        self.counts = tuple(sizes.pop("samples"))
        self.read_sizes(sizes)
        if config.eval.starts < 1:
            raise ValueError(f"eval.starts={config.eval.starts} must be 1 or more.")

    def read_sizes(self, sizes: dict[str, Any]) -> None:
        """Takes the model's section but its samples."""
        self.bend_weight = float(sizes.pop("bend_weight"))
        self.field_config = HashConfig(**sizes)

    def make_views(self) -> Views:
        """Only the rows that need no training cut pictures."""
        return Views(64, 64)

    def init_model(self, key: jax.Array) -> Any:
        return HashField(self.field_config, rngs=nnx.Rngs(params=key))

    def map_fn(self, model: Any, arrays: Any, pictures: jax.Array) -> jax.Array:
        """A query is posed first: see `scorer.PoseScorer`."""
        raise NotImplementedError

    def predict_fn(self, model: Any, batch: dict[str, Any]) -> jax.Array:
        """What rays of a query's rendering show: float32 [n, 3]."""
        o, d, near, far = (batch[name] for name in ("origin", "direction", "near", "far"))
        background = jnp.asarray(self._background)
        seen, _ = render_rays(model, o, d, near, far, background, self.rendered)
        return seen.rgb

    def make_scorer(self, model: Any, arrays: Arrays) -> Any:
        """The way from images to maps."""
        from ipad_jax.pose.scorer import PoseScorer

        return PoseScorer(self, model, arrays)

    def reduce(self, score_map: np.ndarray) -> float:
        return score_of(score_map, self.config.eval.get("connected", False))  # as runs from before

    @cached_property
    def all_views(self) -> ObjectViews:
        """Every training view, those held out too."""
        return read_views(self.source, self.config.data.size)

    @cached_property
    def object_views(self) -> ObjectViews:
        """The views to fit."""
        return self.all_views.chosen(self.indices[0])

    @cached_property
    def _pool(self) -> dict[str, np.ndarray]:
        return ray_pool(self.object_views, self.object_views.hull)

    def train_data(
        self, first_step: int, process_index: int, process_count: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """Random rays that can meet the object; those of a step depend on the seed and the step alone."""
        size, seed, pool = self.config.batch_size, self.config.seed, self._pool
        rows = size // process_count
        own = slice(process_index * rows, (process_index + 1) * rows)
        step = first_step
        while True:
            chosen = np.random.default_rng([seed, 21, step]).integers(len(pool["view"]), size=size)
            yield rays_of(pool, self.object_views, chosen[own])
            step += 1

    def val_data(
        self, process_index: int, process_count: int
    ) -> Iterator[dict[str, np.ndarray]] | None:
        """Rays of the held-out views, `eval_batches` at most; the same ones every time."""
        if not self.indices[1]:
            return None
        _ = self._held_pool  # now: it runs on a device, which the loop does not allow in passing
        return self._held_rays(process_index, process_count)

    @cached_property
    def held_views(self) -> ObjectViews:
        """The views that are held out."""
        return self.all_views.chosen(self.indices[1])

    @cached_property
    def _held_pool(self) -> dict[str, np.ndarray]:
        return ray_pool(self.held_views, self.object_views.hull)

    def _held_rays(self, process_index: int, process_count: int) -> Iterator[dict[str, np.ndarray]]:
        views, pool = self.held_views, self._held_pool
        size = self.config.batch_size
        rows = size // process_count
        own = slice(process_index * rows, (process_index + 1) * rows)
        rng = np.random.default_rng([self.config.seed, 22])
        for _ in range(self.config.eval_batches):
            yield rays_of(pool, views, rng.integers(len(pool["view"]), size=size)[own])

    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """A batch as `rays_of` makes it."""
        three = jax.ShapeDtypeStruct((batch_size, 3), np.float32)
        one = jax.ShapeDtypeStruct((batch_size,), np.float32)
        named = dict.fromkeys(("origin", "direction", "colour"), three)
        return {**named, **dict.fromkeys(("near", "far", "inside"), one)}

    def loss_fn(
        self, model: Any, batch: dict[str, Any], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Squared colour error, and a penalty on colours that depend on the direction."""
        background = batch["colour"][0] * 0 + jnp.asarray(self._background)
        seen, bend = render_rays(
            model,
            batch["origin"],
            batch["direction"],
            batch["near"],
            batch["far"],
            background,
            self.counts,
            key,
        )
        square = jnp.square(seen.rgb - batch["colour"]).mean(-1)
        error = square.mean()
        object_error = (square * batch["inside"]).sum() / jnp.maximum(batch["inside"].sum(), 1.0)
        terms = {
            "psnr": -10 * jnp.log10(error + 1e-10),
            "psnr_object": -10 * jnp.log10(object_error + 1e-10),
            "bend": bend,
        }
        return error + self.bend_weight * bend, terms

    @cached_property
    def _background(self) -> np.ndarray:
        try:
            return self.all_views.background / 255
        except FileNotFoundError:  # `compile` and `--describe` know no data
            return np.ones(3, np.float32)

    def normal_data(self) -> NormalImages:
        return NormalImages(self.source, tuple(self.indices[0]), self.views)

    def fit_arrays(self, model: Any, normal: NormalImages) -> Arrays:
        """Occupied voxels, the training views with distances, what is usual, cameras, background."""
        views = self.object_views
        occupied = occupied_voxels(model, views.hull, OCCUPIED_SIDE)
        crops = [crop_of(image, views.background, views.levels) for image in views.images]
        renderer = Renderer(model, occupied, views.background / 255)
        good = GoodViews(views.images, _distances(renderer, views), views.poses, views.lenses)
        residuals, gains, changes = [], [], []
        rows = self._usual_rows(renderer, good)
        folds = [rows[:k] + rows[k + 1 :] for k in range(len(rows))] if len(rows) > 1 else [rows]
        count = min(USUAL_VIEWS, len(views))
        for number in np.linspace(0, len(views) - 1, count).round().astype(int):
            pose, lens = views.poses[number], views.lenses[number]
            picture = renderer.pictures([pose], lens, FINAL)[0]
            image = views.images[number].astype(np.float32) / 255
            residuals.append(residual_of(image, picture, views.silhouettes[number]))
            gains.append(object_gain(image, picture))
            changes.append(light_of(image, picture, pose, lens).change)
        return {
            "usual_residual": np.array(max(residuals)),
            "usual_gain": np.abs(np.log(gains)).max(axis=0),
            "usual_light": np.array(max(changes)),
            "usual": _fitted(rows),
            "usual_of_folds": np.stack([_fitted(fold) for fold in folds]),
            "occupied": np.packbits(occupied),
            "crops": np.stack([crop.picture for crop in crops]),
            "circles": np.stack([crop.circle for crop in crops]),
            "images": good.images,
            "distances": good.distances,
            "poses": good.poses,
            "lenses": np.stack([lens.array() for lens in good.lenses]),
            "background": np.append(views.background, views.levels).astype(np.float32),
            "bent_lens": np.array(self.source.metadata.get("bent_lens", ())),
        }

    def _usual_rows(self, renderer: Renderer, good: GoodViews) -> list[Rows]:
        """Differences [n] and traits [n, NUM_TRAITS] of good views near the object, one entry a fold.

        Of the views held out, as the field has not learned them, no more than a query; where there are fewer
        than `FOLDS`, one entry of training views, each explained by the others.
        """
        if len(self.indices[1]) >= FOLDS:
            views, own = self.held_views, False
            numbers = np.arange(len(views))
        else:
            views, own = self.object_views, True
            count = min(USUAL_VIEWS, len(views))
            numbers = np.linspace(0, len(views) - 1, count).round().astype(int)
        blur_px = self.config.eval.blur_px
        folds: list[list[Rows]] = [[] for _ in range(1 if own else FOLDS)]
        for place, number in enumerate(numbers):
            pose, lens, without = (
                views.poses[number],
                views.lenses[number],
                int(number) if own else None,
            )
            picture = renderer.pictures([pose], lens, FINAL)[0]
            image = views.images[number].astype(np.float32) / 255
            warped = good.warped(picture, pose, lens, without)
            where = near_object(picture)
            found = traits(picture, warped, good.aside(pose, without), blur_px)[where]
            difference = least_difference(image, picture, warped, blur_px)[where]
            folds[place % len(folds)].append((difference, found))
        return [_joined(fold) for fold in folds]


def _joined(rows: Sequence[Rows]) -> Rows:
    differences, found = zip(*rows)
    return np.concatenate(differences), np.concatenate(found)


def _fitted(rows: Sequence[Rows]) -> np.ndarray:
    return fit_usual(*_joined(rows))


def _distances(renderer: Renderer, views: ObjectViews) -> np.ndarray:
    """Distances along the rays of all views, 0 where nothing is: float16 [n, h, w]."""
    found = np.zeros(views.images.shape[:3], np.float16)
    for row, pose, lens in zip(found, views.poses, views.lenses):
        picture = renderer.pictures([pose], lens, DISTANCE, steps=64)[0]
        row[:] = np.where(picture.opacity > 0.5, picture.distance, 0)
    return found


def ray_pool(views: ObjectViews, hull: np.ndarray) -> dict[str, np.ndarray]:
    """All rays that can meet the object: view int16 [n], pixel int32 [n], near and far float32 [n]."""
    interval = jax.jit(occupied_interval, static_argnames="steps")
    occupied = jnp.asarray(hull)
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("view", "pixel", "near", "far")}
    for number, (lens, pose) in enumerate(zip(views.lenses, views.poses)):
        directions = lens.directions() @ pose[:3, :3].T
        origins = np.broadcast_to(pose[:3, 3], directions.shape)
        met, near, far = map(np.asarray, interval(occupied, origins, directions, steps=POOL_STEPS))
        chosen = np.flatnonzero(met)
        found["view"].append(np.full(len(chosen), number, np.int16))
        found["pixel"].append(chosen.astype(np.int32))
        found["near"].append(near[chosen])
        found["far"].append(far[chosen])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def rays_of(
    pool: dict[str, np.ndarray], views: ObjectViews, chosen: np.ndarray
) -> dict[str, np.ndarray]:
    """A batch of rays of a pool, by their numbers [b]."""
    view, pixel = pool["view"][chosen], pool["pixel"][chosen]
    width = views.images.shape[2]
    row, column = pixel // width, pixel % width
    numbers = np.array([lens.array()[:4] for lens in views.lenses])[view]
    poses = views.poses[view]
    x = (column + 0.5 - numbers[:, 2]) / numbers[:, 0]
    y = -(row + 0.5 - numbers[:, 3]) / numbers[:, 1]
    seen = np.stack([x, y, -np.ones_like(x)], -1)
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    return {
        "origin": np.ascontiguousarray(poses[:, :3, 3]),
        "direction": np.einsum("nij,nj->ni", poses[:, :3, :3], seen).astype(np.float32),
        "colour": views.images[view, row, column].astype(np.float32) / 255,
        "near": pool["near"][chosen],
        "far": pool["far"][chosen],
        "inside": views.silhouettes[view, row, column].astype(np.float32),
    }


def occupied_voxels(field: Any, hull: np.ndarray, side: int) -> np.ndarray:
    """Voxels of the hull where the trained field absorbs, and their neighbours: bool [side] * 3."""
    scale = hull.shape[0] / side
    index = (np.arange(side) * scale).astype(int)
    inside = hull[np.ix_(index, index, index)]
    places = np.argwhere(inside)
    graph, state = nnx.split(field)

    @jax.jit
    def densest(state: Any, centres: jax.Array) -> jax.Array:
        model = nnx.merge(graph, state)
        found = [model.density(centres)]
        for axis in range(3):
            for sign in (-0.5, 0.5):
                found.append(model.density(centres.at[:, axis].add(sign * 2 / side)))
        return jnp.stack(found).max(0)

    kept = np.zeros(len(places), bool)
    size = 8192
    for first in range(0, len(places), size):
        rows = places[first : first + size]
        centres = np.pad(rows, ((0, size - len(rows)), (0, 0)), mode="edge")
        values = densest(state, jnp.asarray((centres + 0.5) * 2 / side - 1, jnp.float32))
        kept[first : first + len(rows)] = np.asarray(values)[: len(rows)] > OCCUPIED_DENSITY
    occupied = np.zeros((side,) * 3, bool)
    occupied[tuple(places[kept].T)] = True
    grown = occupied.copy()
    for axis in range(3):
        for shift in (-1, 1):
            grown |= np.roll(occupied, shift, axis)
    return grown & inside
