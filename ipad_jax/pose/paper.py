"""OmniposeAD as published (PAD, arXiv 2310.07716): NeRF, Adam on the pose, features of one rendering.

The field is two networks of NeRF's, coarse and fine (8 x 256), trained by the shared trainer on the sum of
both errors; the pose is `adam_search`'s; the map is a sum of squared differences of normalised colours and of
EfficientNet-B4's features between query and rendering, blurred, and its maximum the score (auroc_test.py).

Deviations: rays are those that can meet the hull, of all views, and are followed within it; the renderings
that are compared take their samples as `marching` places them, by the coarse network; without a file of
weights (`model.weights`) the colours are compared alone; a query whose background is darker than the training
views' is brightened, as for ours. Colours are not yet scaled over the test set, which
changes no rank.
"""

from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ipad_jax.image.features import FrozenBackbone, load_backbone
from ipad_jax.image.scorer import Scored
from ipad_jax.image.task import Arrays, NormalImages
from ipad_jax.input.images import ImageSource
from ipad_jax.nn.backbones import IMAGENET_STD
from ipad_jax.pose.adam_search import adam_search
from ipad_jax.pose.nerf import Nerf, NerfConfig
from ipad_jax.pose.pose_search import FoundPose
from ipad_jax.pose.rendering import (
    composite,
    importance_distances,
    interval_lengths,
    stratified_distances,
)
from ipad_jax.pose.retrieval import crop_of
from ipad_jax.pose.scorer import PoseScorer
from ipad_jax.pose.task import OCCUPIED_SIDE, OmniposeTask, occupied_voxels
from ipad_jax.run.progress import Stages

COMPARED_PX = 224  # both sides of what is compared
BLUR_PX = 4.0  # there
SIZES = ("depth", "width", "skip", "position_frequencies", "direction_frequencies")


class NerfPair(nnx.Module):
    """The two networks as one field, and what their renderings are compared by.

    Call: points [n, 3], unit directions [n, 3] -> density [n], rgb [n, 3], bend [n] (0), of the fine one.
    """

    def __init__(self, cfg: NerfConfig, backbone: Any, *, rngs: nnx.Rngs):
        self.coarse, self.fine = Nerf(cfg, rngs=rngs), Nerf(cfg, rngs=rngs)
        if backbone is not None:
            self.backbone = FrozenBackbone(backbone)

    def density(self, points: jax.Array) -> jax.Array:
        """Of the coarse network, which says where to look: [n, 3] -> [n]."""
        return self.coarse(points, jnp.zeros_like(points))[0]

    def __call__(
        self, points: jax.Array, directions: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        density, rgb = self.fine(points, directions)
        return density, rgb, jnp.zeros_like(density)


class PaperTask(OmniposeTask):
    """OmniposeAD; `model` has NeRF's sizes, samples (coarse, fine, even), backbone, weights, stages."""

    def read_sizes(self, sizes: dict[str, Any]) -> None:
        """Takes the model's section."""
        self.nerf_config = NerfConfig(**{name: sizes[name] for name in SIZES})
        self.rendered = self.counts

    @property
    def record_files(self) -> tuple[str, ...]:
        """None where colours are compared alone."""
        return super().record_files if self.config.model.weights else ()

    def init_model(self, key: jax.Array) -> NerfPair:
        section = self.config.model
        backbone = load_backbone(section) if section.weights else None
        return NerfPair(self.nerf_config, backbone, rngs=nnx.Rngs(params=key))

    def loss_fn(
        self, model: Any, batch: dict[str, Any], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Squared colour errors of both networks (NeRF, eq. 6)."""
        coarse, fine = both_colours(
            model, batch, jnp.asarray(self._background), self.counts[:2], key
        )
        errors = [jnp.square(rgb - batch["colour"]).mean(-1) for rgb in (coarse, fine)]
        inside = batch["inside"]
        on_object = (errors[1] * inside).sum() / jnp.maximum(inside.sum(), 1.0)
        terms = {"coarse": errors[0].mean(), "psnr": -10 * jnp.log10(errors[1].mean() + 1e-10)}
        terms["psnr_object"] = -10 * jnp.log10(on_object + 1e-10)
        return errors[0].mean() + errors[1].mean(), terms

    def fit_arrays(self, model: Any, normal: NormalImages) -> Arrays:
        """Occupied voxels, small pictures, cameras, background: what a search begins from."""
        views = self.object_views
        crops = [crop_of(image, views.background, views.levels) for image in views.images]
        occupied = occupied_voxels(model, views.hull, OCCUPIED_SIDE)
        return {
            "occupied": np.packbits(occupied),
            "crops": np.stack([crop.picture for crop in crops]),
            "circles": np.stack([crop.circle for crop in crops]),
            "poses": views.poses,
            "lenses": np.stack([lens.array() for lens in views.lenses]),
            "background": np.append(views.background, views.levels).astype(np.float32),
            "bent_lens": np.array(self.source.metadata.get("bent_lens", ())),
        }

    def make_scorer(self, model: Any, arrays: Arrays) -> Any:
        return PaperScorer(self, model, arrays)

    def reduce(self, score_map: np.ndarray) -> float:
        """The maximum."""
        return float(score_map.max())


def both_colours(
    model: NerfPair,
    batch: dict[str, Any],
    background: jax.Array,
    counts: tuple[int, ...],
    key: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """What rays show by the coarse network at even samples, by the fine one at those and more: [b, 3] each.

    Args: counts of even samples, and of those that follow the coarse weights.
    """
    near, far, directions = batch["near"], batch["far"], batch["direction"]
    even, more = jax.random.split(key)
    distances = stratified_distances(near, far, counts[0], even)

    def seen(network: Nerf, distances: jax.Array) -> Any:
        points = batch["origin"][:, None] + directions[:, None] * distances[:, :, None]
        density, rgb = network(points, jnp.broadcast_to(directions[:, None], points.shape))
        lengths = interval_lengths(distances, directions, far - distances[:, -1])
        return composite(density, rgb, distances, lengths, background)

    coarse = seen(model.coarse, distances)
    chosen = importance_distances(distances, coarse.weights, counts[1], more)
    joined = jnp.sort(jnp.concatenate([distances, chosen], axis=1), axis=1)
    return coarse.rgb, seen(model.fine, joined).rgb


class PaperScorer(PoseScorer):
    """The published search and comparison."""

    needs = ("crops",)

    def __init__(self, task: Any, model: Any, arrays: Arrays):
        super().__init__(task, model, arrays)
        self.final = task.rendered
        network = getattr(model, "backbone", None)
        self._features = None if network is None else jax.jit(lambda x: network(x[None]))

    def fitted(self, image: np.ndarray) -> np.ndarray:
        return self.exposed(super().fitted(image))

    def searched(self, small: np.ndarray) -> FoundPose:
        section = self.task.config.eval
        return adam_search(
            small,
            self.known,
            steps=section.steps,
            pixels=section.pixels,
            samples=self.task.counts,
        )

    def _compared(
        self,
        image: np.ndarray,
        small: np.ndarray,
        found: FoundPose,
        usual: np.ndarray | None = None,
    ) -> Scored:
        query, rendering = (
            cv2.resize(x, (COMPARED_PX, COMPARED_PX), interpolation=cv2.INTER_LINEAR)
            for x in (small, (np.clip(found.picture.rgb, 0, 1) * 255).astype(np.uint8))
        )
        score_map = published_map(query, rendering, self._features)
        size = (image.shape[1], image.shape[0])
        score = self.task.reduce(score_map)
        return Scored(cv2.resize(score_map, size, interpolation=cv2.INTER_LINEAR), score, found)

    def show(self, folder: Any, source: ImageSource, stages: Stages) -> dict[str, str]:
        """Nothing: a turn of pictures of two NeRFs takes hours of a CPU."""
        return {}


def published_map(query: np.ndarray, rendering: np.ndarray, features: Any) -> np.ndarray:
    """Sum of squared differences of normalised colours and of features, blurred: float32 [h, w].

    Args:
      query, rendering: uint8 [h, w, 3].
      features: uint8 [h, w, 3] -> maps [1, h', w', c] by stage; None: colours alone.
    """
    difference = (query.astype(np.float32) - rendering) / 255 / np.array(IMAGENET_STD, np.float32)
    total = np.square(difference).sum(-1)
    if features is not None:
        maps = [features(jnp.asarray(x)) for x in (query, rendering)]
        for stage in maps[0]:
            own, other = (np.asarray(found[stage][0], np.float32) for found in maps)
            square = np.square(own - other).sum(-1)
            total += cv2.resize(square, total.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return cv2.GaussianBlur(total, (0, 0), BLUR_PX, borderType=cv2.BORDER_REFLECT)
