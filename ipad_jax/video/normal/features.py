"""Prototypes by phase: how far a frame's pretrained features are from those of normal frames.

Beyond the paper. What a network learned from a million photographs tells textures, edges and parts apart
that a small picture (frames.py) blurs, and nothing of it is trained here. What scored highest on IPAD's
real scenes in unreviewed work were frozen patches compared with prototypes of the same phase.

    1. A network's last maps of strides 8 and 16 (of a transformer the last one), brought to the size of the
       first and stacked, each divided by the root of its channels: one feature a cell. Any of
       nn/backbones.py will do: EfficientNet-Lite0, whose weights are in a package, or one whose file of
       weights the user names; so will a Video Swin (still_swin.py).
    2. Prototypes are the features of normal frames, evenly spread over the footage. Candidates are those of
       the frames nearest in phase (all where there is no phase), in the same cell or one beside it: a camera
       that shakes costs little.
    3. A cell's distance is that to its nearest candidate: the map, without its edge. The score is the map's
       maximum, averaged over the last few frames as that of frames.py.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from ipad_jax.nn.backbones import KINDS, Backbone, make_backbone, stages_of
from ipad_jax.video.normal.frames import check_phases, nearest_in_phase, without_edge
from ipad_jax.video.normal.still_swin import SWINS, swin_backbone, swin_stages

NETWORKS = (*KINDS, *SWINS)  # what eval.features may name, besides "" for none
STRIDES = (8, 16)  # pixels, of the maps that are taken, the last of each; FACTS 6
SIDE = 128  # pixels, longest side of a frame as the network sees it; our choice
MAX_FRAMES = 300  # normal frames that prototypes are taken from; our choice
SHARE = 0.1  # of them, those nearest in phase; chosen on the tuning scene


@dataclass(frozen=True)
class Extractor:
    """A frozen network with what is taken from it.

    Attributes:
      backbone: the network; its first map gives the size of all.
      side: pixels, longest side of a picture as the network sees it, smaller ones enlarged.
    """

    backbone: Backbone
    side: int = SIDE

    def __post_init__(self) -> None:
        first = self.backbone.stages[0]
        if self.side < first.stride:
            raise ValueError(
                f"side={self.side} is under one cell of {first.name}, {first.stride} pixels."
            )

    def picture(self, frame: np.ndarray) -> np.ndarray:
        """A frame, uint8 [h, w, 3], at the size that the network sees."""
        height, width = frame.shape[:2]
        factor, step = self.side / max(height, width), self.backbone.multiple
        columns, rows = (max(1, round(n * factor / step)) * step for n in (width, height))
        size = (columns, rows)
        way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        return frame if size == (width, height) else cv2.resize(frame, size, interpolation=way)

    def cells(self, picture: np.ndarray) -> np.ndarray:
        """Features of a picture, float16 [h', w', c]: a picture alone gives the same as among others."""
        return np.asarray(_cells(self.backbone, picture[None]))


def load_extractor(network: str, weights: str = "") -> Extractor:
    """A network by its name, with the weights of a file, "": Lite0's, from a package.

    Raises:
      FileNotFoundError, ModuleNotFoundError, ValueError: see `nn.backbones.make_backbone`.
    """
    make = swin_backbone if network in SWINS else make_backbone
    return Extractor(make(network, weights, stages_taken(network)))


def stages_taken(network: str) -> tuple[str, ...]:
    """Names of the maps of a network that count.

    Raises:
      ValueError: no network of this name; says which there are.
    """
    known = swin_stages(network) if network in SWINS else stages_of(network)
    last = {stage.stride: stage.name for stage in known}
    return tuple(last[s] for s in STRIDES if s in last) or (known[-1].name,)


@jax.jit
def _cells(backbone: Backbone, pictures: jax.Array) -> jax.Array:
    """One picture, [1, h, w, 3], to its cells."""
    maps = list(backbone(pictures.astype(jnp.float32) / 255).values())
    size = maps[0].shape[1:3]
    parts = [
        jax.image.resize(m, (1, *size, m.shape[-1]), "linear") / m.shape[-1] ** 0.5 for m in maps
    ]
    return jnp.concatenate(parts, axis=-1)[0].astype(jnp.float16)


@dataclass(frozen=True)
class Prototypes:
    """Features of normal frames and their phases; `distance` compares a frame with them.

    Attributes:
      extractor: what made them.
      features: float16 [n, h, w, c], as `Extractor.cells` gives them.
      phase: float32 [n] in [0, 1), or NaN throughout where the footage has no cycle.
      share: part of the frames that are candidates, those nearest in phase.
    """

    extractor: Extractor
    features: np.ndarray
    phase: np.ndarray
    share: float = SHARE

    def __post_init__(self) -> None:
        count = len(self.features)
        if not count or self.features.ndim != 4 or self.features.dtype != np.float16:
            raise ValueError(
                f"features are {self.features.dtype} {self.features.shape}, expected float16 "
                "[n, h, w, c] with at least one."
            )
        check_phases(self.phase, count)
        if not 0 < self.share <= 1:
            raise ValueError(f"share={self.share} must be above 0 and at most 1.")

    @cached_property
    def _by_cell(self) -> tuple[np.ndarray, np.ndarray]:
        """Features float32 [h, w, n, c] and the sum of their squares [h, w, n]."""
        features = np.ascontiguousarray(self.features.transpose(1, 2, 0, 3), np.float32)
        return features, np.einsum("hwnc,hwnc->hwn", features, features)

    @property
    def has_phase(self) -> bool:
        """Whether the footage has a cycle."""
        return bool(np.isfinite(self.phase[0]))

    def picture(self, frame: np.ndarray) -> np.ndarray:
        """A frame, uint8 [h, w, 3] of any size, as `distance` takes it."""
        return self.extractor.picture(frame)

    def distance(self, picture: np.ndarray, phase: float) -> np.ndarray:
        """How far each cell is from the nearest prototype.

        Args:
          picture: uint8 [h, w, 3], from `picture`.
          phase: of the frame, in [0, 1); NaN = unknown.

        Returns:
          float32 [h', w'], 0 at the edge; NaN throughout if the footage has a cycle and the phase is unknown.

        Raises:
          ValueError: a picture of another shape than the prototypes' were.
        """
        cells = self.extractor.cells(picture).astype(np.float32)
        height, width = cells.shape[:2]
        if cells.shape != self.features.shape[1:]:
            raise ValueError(f"features are {cells.shape}, expected {self.features.shape[1:]}.")
        if self.has_phase and not np.isfinite(phase):
            return np.full((height, width), np.nan, np.float32)
        features, squares = self._by_cell
        if self.has_phase:
            chosen = nearest_in_phase(self.phase, phase, self.share)
            features, squares = features[:, :, chosen], squares[:, :, chosen]
        # |f - p|^2 = |f|^2 + |p|^2 - 2 f.p: each place's prototypes meet the nine cells around them in one
        # product, and are read once; a cell then looks at the nine places around it.
        padded = np.pad(cells, ((1, 1), (1, 1), (0, 0)), mode="edge")
        around = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
        products = features @ np.stack(around, axis=-1)
        least = (squares[..., None] - 2 * products).min(axis=2)
        least = np.pad(least, ((1, 1), (1, 1), (0, 0)), constant_values=np.inf)
        nearest = [
            least[2 - y : 2 - y + height, 2 - x : 2 - x + width, 3 * y + x]
            for y in range(3)
            for x in range(3)
        ]
        squared = np.einsum("hwc,hwc->hw", cells, cells) + np.min(nearest, axis=0)
        return without_edge(np.sqrt(np.maximum(squared, 0)))

    def largest(self, frame: np.ndarray, phase: float) -> float:
        """The largest distance in a whole frame, uint8 [h, w, 3] of any size; NaN as in `distance`."""
        return float(self.distance(self.picture(frame), phase).max())

    def warm_up(self) -> None:
        """Computes what the first frame would wait for."""
        _ = self._by_cell
