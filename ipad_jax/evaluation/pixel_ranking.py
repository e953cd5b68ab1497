"""How well score maps rank defects above normal images and pixels, without a threshold.

One image after another goes in, in memory that depends on neither their number nor their size (but for
some kB an image that intervals need); accumulators of several processes add up. Scores are raw and
pooled over all images, good ones included: nothing is rescaled for an image, and no axis of a curve.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ipad_jax.evaluation import areas, score_cells
from ipad_jax.evaluation.resampled_images import (
    image_intervals,
    image_numbers,
    mean_interval,
    pixel_intervals,
)
from ipad_jax.evaluation.score_cells import Cells

GOOD = "good"  # the kind of images without a defect
PRO_LIMITS = {"aupro_30": 0.30, "aupro_05": 0.05}  # false-positive rates
PIMO_RATES = (1e-5, 1e-4)
PIMO_PIXELS = 10**6  # fewer normal pixels do not resolve PIMO_RATES
F1_RULE = "oracle: the best threshold for these very labels"
SKETCH_CELLS = 512  # of an image's pixels of either class


@dataclass(frozen=True)
class _Image:
    """One image: its score, and sketches of its normal and its defective pixels (None: not judged)."""

    kind: str
    score: float
    normal: Cells | None
    defect: Cells | None


class PixelRanking:
    """Image AUROC, AP, F1-max, pixel AUROC, AUPRO and AUPIMO of a stream of images.

    Equal scores stay equal and different ones apart while there are at most `max_cells` different
    scores: then every number is exact to rounding. Beyond that the lowest bits of the float32 scores
    are dropped and scores of one cell count as ties; with shares b of the normal pixels and f of the
    defective ones (or of the weight of regions) in each cell, AUROC is off by at most sum(b f) / 2
    and AUPRO by at most sum(b f) / (2 limit). Its measured error on 40 smooth maps of
    1024 x 1024 was 3e-9 for AUROC and 2e-8 for AUPRO.
    AUPIMO sees at most 512 pixels of an image, its quantiles, and is off by at most 1e-3 for it.

    Memory: 20 bytes a cell, and up to 20 kB an image.
    """

    def __init__(self, max_cells: int = 2**19):
        self._max_cells = max_cells
        self._bits = 0  # dropped from the keys of all cells
        # weights: 1 / pixels of the image, of good images alone
        self._background = _empty()
        # by kind; weights: 1 / pixels of the region
        self._foreground: dict[str, Cells] = {}
        self._num_regions: dict[str, int] = {}
        self._num_good_pixels = 0
        self._images: list[_Image] = []

    def add(
        self,
        score_map: np.ndarray | None,
        mask: np.ndarray | None,
        kind: str,
        score: float | None = None,
    ) -> None:
        """Take in one test image.

        Args:
          score_map: [h, w] float32, higher is more anomalous, any size; no NaN; -inf where nothing was
            inspected. None for a method that gives none.
          mask: [h, w] bool, or 0 and 1 or 255; True on the defect; regions are its 8-connected
            components. None for a good image, and for one whose defect nobody marked: its pixels are
            then not judged.
          kind: "good" or the name of the defect.
          score: of the image; the largest of the map if None.

        Raises:
          ValueError: NaN, a mask of another shape or with other values, a good image with a defect,
            no score.
        """
        if score_map is not None:
            score_map = _checked_map(score_map, kind)
            score = float(score_map.max()) if score is None else score
        if score is None or not np.isfinite(score):
            raise ValueError(f"score={score} of an image of kind {kind!r}: it needs a finite one.")
        if score_map is None or (mask is None and kind != GOOD):
            self._images.append(_Image(kind, float(score), None, None))
            return
        defect = _checked_mask(mask, score_map, kind)
        keys = score_cells.order_keys(score_map)
        normal_keys = np.sort(keys[~defect])
        weight = 1 / keys.size if kind == GOOD else 0.0
        self._num_good_pixels += keys.size if kind == GOOD else 0
        normal_weights = np.full(len(normal_keys), weight)
        parts = [self._background, score_cells.cells_of(normal_keys, normal_weights, self._bits)]
        self._background = score_cells.add(parts)

        defect_keys, weights, num_regions = _regions(keys, defect)
        if len(defect_keys):
            new = score_cells.cells_of(defect_keys, weights, self._bits)
            old = self._foreground.get(kind, _empty())
            self._foreground[kind] = score_cells.add([old, new])
            self._num_regions[kind] = self._num_regions.get(kind, 0) + num_regions
        self._fit()
        normal_sketch = score_cells.condense(normal_keys, normal_weights, SKETCH_CELLS)
        defect_sketch = score_cells.condense(defect_keys, weights, SKETCH_CELLS)
        self._images.append(_Image(kind, float(score), normal_sketch, defect_sketch))

    def merge(self, other: "PixelRanking") -> None:
        """Take in all images of another one; any split of a test set gives the same result."""
        if other._max_cells != self._max_cells:
            raise ValueError(
                f"max_cells={self._max_cells} and {other._max_cells}: only equal ones merge."
            )
        bits = max(self._bits, other._bits)
        self._coarsen(bits)
        parts = [self._background, _dropped(other._background, bits - other._bits)]
        self._background = score_cells.add(parts)
        for kind, cells in other._foreground.items():
            parts = [self._foreground.get(kind, _empty()), _dropped(cells, bits - other._bits)]
            self._foreground[kind] = score_cells.add(parts)
            self._num_regions[kind] = self._num_regions.get(kind, 0) + other._num_regions[kind]
        self._images += other._images
        self._num_good_pixels += other._num_good_pixels
        self._fit()

    def result(self, seed: int = 0) -> dict[str, Any]:
        """All numbers, each in [0, 1], NaN where a class is missing.

        Of images: `image_auroc`, `average_precision`, `f1_max` (an oracle). Of pixels: `pixel_auroc`,
        `pixel_average_precision`, `pixel_f1_max`. `aupro_30`, `aupro_05`: covered share of a region,
        mean over regions and over rates of false pixels up to 0.30 and 0.05 (Bergmann et al. 2021,
        sect. 5.1). `aupimo`: recall of a defective image, mean over log(rate) from 1e-5 to 1e-4, the
        rate being the mean of the good images' own, and over these images; NaN under 10^6 pixels of
        good images (Bertoldo et al. 2024, "AUPIMO", sect. 3). `by_kind`: each defect against all good
        images and all normal pixels. `intervals`: [low, high] at 95 %, images resampled; for
        `aupimo` defective ones alone.
        """
        if not self._images:
            raise ValueError("No image was added.")
        # in an order of their own, so that draws do not depend on who took in which image
        images = sorted(self._images, key=_content)
        score = np.array([image.score for image in images])
        label = np.array([image.kind != GOOD for image in images], bool)
        pixels = _Pixels(self._bits, self._background, self._foreground)
        if self._num_good_pixels < PIMO_PIXELS:
            pixels.pimo_share[:] = np.nan
        pimo = np.array([pixels.pimo(image.defect) for image in images])
        numbers = pixels.numbers(list(self._foreground))
        judged = pimo[np.isfinite(pimo)]
        by_kind = {}
        for kind in sorted({image.kind for image in images} - {GOOD}):
            of_kind = np.array([image.kind == kind for image in images])
            used = of_kind | ~label
            found = pixels.numbers([kind])
            by_kind[kind] = {
                "image_auroc": _plain(score[used], label[used])["image_auroc"],
                "image_auroc_interval": image_intervals(score[used], label[used], seed)[
                    "image_auroc"
                ],
                **{name: found[name] for name in ("pixel_auroc", *PRO_LIMITS)},
                "aupimo": _mean(pimo[of_kind & np.isfinite(pimo)]),
                "num_images": int(of_kind.sum()),
                "num_regions": self._num_regions.get(kind, 0),
                "score_mean": float(score[of_kind].mean()),
                "score_quartiles": _quartiles(score[of_kind]),
            }
        sketches = [
            (i.normal, i.defect) for i in images if i.normal is not None and i.defect is not None
        ]
        return {
            **_plain(score, label),
            "f1_max_rule": F1_RULE,
            **numbers,
            "aupimo": _mean(judged),
            "aupimo_quartiles": _quartiles(judged),
            "by_kind": by_kind,
            "intervals": image_intervals(score, label, seed)
            | pixel_intervals(sketches, PRO_LIMITS, numbers, seed)
            | {"aupimo": mean_interval(judged, seed)},
            "num_images": len(images),
            "num_anomalous": int(label.sum()),
            "num_without_pixels": len(images) - len(sketches),
            "num_normal_pixels": int(self._background.counts.sum()),
            "num_anomalous_pixels": sum(int(c.counts.sum()) for c in self._foreground.values()),
            "num_regions": sum(self._num_regions.values()),
        }

    def _fit(self) -> None:
        """Drop bits until the cells fit."""
        while len(self._background) + sum(map(len, self._foreground.values())) > self._max_cells:
            self._coarsen(self._bits + 1)

    def _coarsen(self, bits: int) -> None:
        more, self._bits = bits - self._bits, bits
        self._background = _dropped(self._background, more)
        self._foreground = {k: _dropped(cells, more) for k, cells in self._foreground.items()}


class _Pixels:
    """The pooled histograms on common cells, from the highest score to the lowest."""

    def __init__(self, bits: int, background: Cells, foreground: Mapping[str, Cells]):
        self.bits = bits
        keys = [background.keys, *(cells.keys for cells in foreground.values())]
        # one cell at least: numbers of nothing are NaN
        self.keys = np.unique(np.concatenate([*keys, np.zeros(1, np.uint32)]))
        self.background = self._spread(background.keys, background.counts)
        self.good = self._spread(background.keys, background.weights)
        self.foreground = foreground
        above, with_cell = areas.rates(self.background)
        self.shares = {
            name: areas.share_below(above, with_cell, limit)
            for name, limit in {"pixel_auroc": 1.0, **PRO_LIMITS}.items()
        }
        self.pimo_share = areas.log_share_between(*areas.rates(self.good), *PIMO_RATES)

    def numbers(self, kinds: list[str]) -> dict[str, float]:
        """Numbers of these kinds against all normal pixels."""
        cells = score_cells.add([_empty(), *(self.foreground.get(k, _empty()) for k in kinds)])
        counts = self._spread(cells.keys, cells.counts)
        weights = self._spread(cells.keys, cells.weights)
        return {
            "pixel_auroc": float(areas.mean_share(counts, self.shares["pixel_auroc"])),
            "pixel_average_precision": float(areas.average_precision(self.background, counts)),
            "pixel_f1_max": float(areas.f1_max(self.background, counts)),
            **{name: float(areas.mean_share(weights, self.shares[name])) for name in PRO_LIMITS},
        }

    def pimo(self, defect: Cells | None) -> float:
        """AUPIMO of one image."""
        if defect is None or not len(defect):
            return np.nan
        share = self.pimo_share[self._places(defect.keys >> np.uint32(self.bits))]
        return float(areas.mean_share(defect.counts, share))

    def _places(self, keys: np.ndarray) -> np.ndarray:
        return len(self.keys) - 1 - np.searchsorted(self.keys, keys)

    def _spread(self, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
        spread = np.zeros(len(self.keys), values.dtype)
        spread[self._places(keys)] = values
        return spread


def _checked_map(score_map: np.ndarray, kind: str) -> np.ndarray:
    """[h, w] float32 without NaN."""
    score_map = np.asarray(score_map, np.float32)
    if score_map.ndim != 2 or not score_map.size:
        raise ValueError(f"score_map has shape {score_map.shape}; expected [h, w].")
    if num := int(np.isnan(score_map).sum()):
        raise ValueError(
            f"{num} of {score_map.size} scores in a map of kind {kind!r} are NaN; give -inf to pixels "
            "that were not inspected."
        )
    return np.ascontiguousarray(score_map)


def _checked_mask(mask: np.ndarray | None, score_map: np.ndarray, kind: str) -> np.ndarray:
    """bool [h, w]."""
    if mask is None:
        return np.zeros(score_map.shape, bool)
    mask = np.asarray(mask)
    if mask.shape != score_map.shape:
        raise ValueError(
            f"mask has shape {mask.shape}, score_map {score_map.shape}; bring the map to the mask's size."
        )
    defect = mask.astype(bool)
    if mask.dtype != bool and not (mask[defect] == (255 if mask.max() > 1 else 1)).all():
        raise ValueError(
            "mask has values other than 0 and 1, or 0 and 255; compare it with a level first."
        )
    if kind == GOOD and defect.any():
        raise ValueError(f"A {GOOD!r} image has a mask with {int(defect.sum())} defective pixels.")
    return defect


def _regions(keys: np.ndarray, defect: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Keys of defective pixels, rising, 1 / size of the region of each, and the number of regions."""
    count, regions = cv2.connectedComponents(defect.astype(np.uint8), connectivity=8)
    found, region = keys[defect], regions[defect].astype(np.intp)
    order = np.argsort(found, kind="stable")
    size = np.bincount(region, minlength=count)
    return found[order], 1 / size[region[order]], count - 1


def _empty() -> Cells:
    return Cells(np.zeros(0, np.uint32), np.zeros(0, np.int64), np.zeros(0))


def _dropped(cells: Cells, bits: int) -> Cells:
    return score_cells.drop_bits(cells, bits) if bits else cells


def _content(image: _Image) -> tuple:
    """What images are ordered by."""
    sketches = [
        c.keys.tobytes() + c.counts.tobytes() for c in (image.normal, image.defect) if c is not None
    ]
    return image.score, image.kind, *sketches


def _plain(score: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Numbers of the images as they are, not resampled."""
    found = image_numbers(score, label, np.ones((1, len(score))))
    return {name: float(values[0]) for name, values in found.items()}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan


def _quartiles(values: np.ndarray) -> list[float]:
    return np.quantile(values, [0.25, 0.5, 0.75]).tolist() if len(values) else [np.nan] * 3
