"""Prototypes by phase: how far a frame's pretrained features are from those of normal frames.

Beyond the paper. What a network learned from a million photographs tells textures, edges and parts apart
that a small picture (frames.py) blurs, and nothing of it is trained here. What scored highest on IPAD's
real scenes in unreviewed work were frozen patches compared with prototypes of the same phase.

    1. EfficientNet-Lite0's maps of some blocks, brought to the size of the first and stacked, each divided
       by the root of its channels: one feature a cell.
    2. Prototypes are the features of normal frames, evenly spread over the footage. Candidates are those of
       the frames nearest in phase (all where there is no phase), in the same cell or one beside it: a camera
       that shakes costs little.
    3. A cell's distance is that to its nearest candidate: the map, without its edge. The score is the map's
       maximum, averaged over the last few frames as that of frames.py.
"""

import functools
from dataclasses import dataclass
from functools import cached_property

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from ipad_jax.nn.efficientnet import SHAPES, EfficientNet, extract, normalise
from ipad_jax.video.normal.frames import check_phases, nearest_in_phase, without_edge

NETWORKS = ("efficientnet_lite0",)  # what eval.features may name, besides "" for none
BLOCKS = (4, 10)  # of the network, whose outputs are taken; FACTS 6
SIDE = 128  # pixels, longest side of a frame as the network sees it; our choice
MAX_FRAMES = 300  # normal frames that prototypes are taken from; our choice
SHARE = 0.1  # of them, those nearest in phase; chosen on the tuning scene


@dataclass(frozen=True)
class Extractor:
    """A frozen network with what is taken from it.

    Attributes:
      net: weights, at least up to the last block wanted.
      blocks: whose outputs are taken, ascending; the first gives the size of the map.
      side: pixels, longest side of a picture as the network sees it, smaller ones enlarged.
    """

    net: EfficientNet
    blocks: tuple[int, ...] = BLOCKS
    side: int = SIDE

    def __post_init__(self) -> None:
        if self.side < SHAPES[self.blocks[0]].reduction:
            raise ValueError(
                f"side={self.side} is under one cell of block {self.blocks[0]}, "
                f"{SHAPES[self.blocks[0]].reduction} pixels."
            )

    def picture(self, frame: np.ndarray) -> np.ndarray:
        """A frame, uint8 [h, w, 3], at the size that the network sees."""
        height, width = frame.shape[:2]
        factor = self.side / max(height, width)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        return frame if size == (width, height) else cv2.resize(frame, size, interpolation=way)

    def cells(self, picture: np.ndarray) -> np.ndarray:
        """Features of a picture, float16 [h', w', c]: a picture alone gives the same as among others."""
        return np.asarray(_cells(self.net, picture[None], self.blocks))


@functools.partial(jax.jit, static_argnames="blocks")
def _cells(net: EfficientNet, pictures: jax.Array, blocks: tuple[int, ...]) -> jax.Array:
    """One picture, [1, h, w, 3], to its cells."""
    maps = extract(net, normalise(pictures), blocks)
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
