"""The pose of a query: starts from the training views that look like it, then render-and-align."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ipad_jax.data_builders.object_folder.silhouettes import border_of, silhouette
from ipad_jax.pose.alignment import BAND_PX, align, blurred, blurred_inside, points_of
from ipad_jax.pose.cutting import cut_out
from ipad_jax.pose.object_views import Lens
from ipad_jax.pose.pictures import Counts, Picture, Renderer
from ipad_jax.pose.retrieval import Gallery, crop_of, degrees_apart
from ipad_jax.pose.templates import Templates

APART_DEGREES = 8.0  # between two answers that count as different
UNUSUAL = 2.0  # times the usual residual, beyond which a rendering does not fit
UNSEEN_DEGREES = 35.0  # from the nearest training view: a side that nobody has seen
STRANGE_SHARE = 0.4  # of the border; an object that leaves the picture covers less
CLEAR = 1.5  # a hypothesis with more than so many times the least residual is given up
TIE = 1.1  # an other pose with at most so many times the residual leaves the pose open


class Level(NamedTuple):
    """A step of the search.

    Attributes:
      scale: of the picture's size.
      renders: pictures rendered of each hypothesis.
      steps: of alignment after each.
      keep: hypotheses that go on to the next level.
      counts: samples along a ray.
    """

    scale: float
    renders: int
    steps: int
    keep: int
    counts: Counts


LEVELS = (
    Level(0.25, 5, 5, 3, (16, 8, 0)),
    Level(0.5, 3, 4, 2, (24, 10, 0)),
    Level(1.0, 2, 3, 1, (32, 12, 0)),
)
FINAL: Counts = (48, 24, 0)  # samples of the picture that is compared


@dataclasses.dataclass(frozen=True)
class FoundPose:
    """The answer of a search.

    Attributes:
      pose: world_from_camera float32 [4, 4].
      picture: rendered from there, at the query's size.
      residual: trimmed root mean square of the colour difference, 0 to 1.
      tied: whether another pose, far from this one, explains the query as well.
      degrees_to_view: from the nearest training view, about the object's centre.
      usual: the largest residual of training views at their own poses.
      strange: whether the background is not the training views', so that what is outside the rendering is
        not judged.
      zoom: focal length, times the training views'; sought only where the lens is not known.
    """

    pose: np.ndarray
    picture: Picture
    residual: float
    tied: bool = False
    degrees_to_view: float = 0.0
    usual: float = float("inf")
    strange: bool = False
    zoom: float = 1.0

    @property
    def fits(self) -> bool:
        """Whether the rendering is as near to the query as one of a good object at its pose may be."""
        return self.residual <= UNUSUAL * self.usual

    @property
    def inspected(self) -> bool:
        """Whether the difference from the rendering says anything of the object."""
        return self.degrees_to_view <= UNSEEN_DEGREES and (self.fits or not self.strange)

    @property
    def note(self) -> str:
        """Why the pose cannot be trusted; ""."""
        if self.strange and not self.fits:
            return "not inspected: no pose fits, and the background is not the training photos'"
        if not self.inspected:
            return "not inspected: no training view is near this side"
        if not self.fits:
            return "pose uncertain: the rendering does not fit"
        return "pose uncertain: another pose fits as well" if self.tied else ""

    @property
    def remark(self) -> str:
        """The note, and what else was not judged; ""."""
        if not self.strange or not self.fits:
            return self.note
        other = "background not the training photos': what juts out of the object is not judged"
        return f"{self.note}; {other}" if self.note else other

    @property
    def reference(self) -> np.ndarray:
        """What the query was compared with, uint8 [h, w, 3]."""
        return np.rint(np.clip(self.picture.rgb, 0, 1) * 255).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Known:
    """What a search takes besides the image.

    Attributes:
      lens: of the image.
      background, levels: of `silhouettes.background_of`.
      templates: for a background that is not the training views'.
    """

    renderer: Renderer
    gallery: Gallery
    templates: Callable[[], Templates]
    lens: Lens
    background: np.ndarray
    levels: float

    def silhouette(self, image: np.ndarray) -> np.ndarray:
        """Where an image uint8 [h, w, 3] shows the object: bool [h, w]."""
        return silhouette(image, self.background, self.levels)

    def starts(self, image: np.ndarray, count: int) -> np.ndarray:
        """Poses [n, 4, 4] from which the object looks most like an image uint8 [h, w, 3]."""
        return self.gallery.starts(crop_of(image, self.background, self.levels), self.lens, count)

    def strange_background(self, image: np.ndarray) -> bool:
        """Whether much of an image's border is not the background, so that no silhouette can be found."""
        away = np.abs(border_of(image).astype(np.float32) - self.background).max(axis=-1)
        return bool((away > self.levels).mean() > STRANGE_SHARE)


def residual_of(query: np.ndarray, picture: Picture, seen: np.ndarray) -> float:
    """Root of the mean square colour difference where either shows the object, less the worst 15 %.

    Args:
      query: float32 [h, w, 3] in [0, 1].
      seen: bool [h, w], the query's silhouette.
    """
    where = seen | (picture.opacity > 0.5)
    if not where.any():
        return 1.0
    square = np.square(query - picture.rgb).sum(-1)[where]
    kept = np.sort(square)[: max(1, int(0.85 * len(square)))]
    return float(np.sqrt(kept.mean()))


def search(
    image: np.ndarray,
    known: Known,
    count: int,
    say: Callable[[str], None] = lambda text: None,
    seek_focal: bool = False,
    strange: bool = False,
) -> FoundPose:
    """The pose from which the object looks as in an image uint8 [h, w, 3] of the lens's size.

    Args:
      count: starts.
      seek_focal: the focal length is not known, the rest of the lens is.
      strange: the background is not the training views'. What the object covers counts alone at first; then
        it is cut out (`cutting`), so that its outline counts too.
    """
    query, nowhere = image.astype(np.float32) / 255, np.zeros(image.shape[:2], bool)
    if strange:
        starts = known.templates().starts(image, known.gallery, known.lens, count)
        climb = _Climb(known, query, nowhere, seek_focal, say, inside_only=True)
        first = climb.up(starts, np.ones(len(starts)), LEVELS[:-1])
        seen = cut_out(image, first.picture.opacity)
        before = np.where(seen[..., None], query, known.background / 255)
        climb = _Climb(known, before.astype(np.float32), seen, seek_focal, say)
        best = climb.up(first.pose[None], np.array([first.zoom]), LEVELS[1:])
        best = best._replace(tied=first.tied)
        residual = residual_of(query, best.picture, nowhere)
    else:
        starts, seen = known.starts(image, count), known.silhouette(image)
        climb = _Climb(known, query, seen, seek_focal, say)
        best = climb.up(starts, np.ones(len(starts)), LEVELS)
        residual = residual_of(query, best.picture, seen)
    eyes = known.gallery.poses[:, :3, 3]
    directions = eyes / np.linalg.norm(eyes, axis=1, keepdims=True)
    eye = best.pose[:3, 3] / np.linalg.norm(best.pose[:3, 3])
    nearest = np.degrees(np.arccos(np.clip((directions @ eye).max(), -1, 1)))
    return FoundPose(
        best.pose,
        best.picture,
        residual,
        best.tied,
        float(nearest),
        strange=strange,
        zoom=best.zoom,
    )


class _Best(NamedTuple):
    """The best hypothesis, as in `FoundPose`."""

    pose: np.ndarray
    zoom: float
    picture: Picture
    tied: bool


@dataclasses.dataclass(frozen=True)
class _Climb:
    """From many hypotheses at a coarse level to one at a fine level.

    Attributes:
      query: float32 [h, w, 3] in [0, 1].
      seen: bool [h, w], its silhouette.
      inside_only: whether nothing counts but what a rendering covers.
    """

    known: Known
    query: np.ndarray
    seen: np.ndarray
    seek_focal: bool
    say: Callable[[str], None]
    inside_only: bool = False

    def up(self, starts: np.ndarray, zooms: np.ndarray, levels: Sequence[Level]) -> _Best:
        """The best of poses [k, 4, 4] with zooms [k]."""
        renderer, lens = self.known.renderer, self.known.lens
        poses = starts.astype(np.float64)
        least, tied = np.zeros(len(poses)), False
        shown: list[Picture | None] = []
        for level in levels:
            own = lens.scaled(round(lens.width * level.scale), round(lens.height * level.scale))
            size = (own.width, own.height)
            small = self.query
            if level.scale != 1:
                small = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
            seen = (
                cv2.resize(self.seen.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
            )
            target = blurred(small)
            best, least = poses.copy(), np.full(len(poses), np.inf)
            best_zooms = zooms.copy()
            shown = [None] * len(poses)
            for turn in range(level.renders + 1):
                only_judged = turn == level.renders
                lenses = [own.zoomed(zoom) for zoom in zooms]
                if only_judged and level is LEVELS[-1]:  # one of these is compared
                    pictures = renderer.pictures(poses, lenses, FINAL)
                else:
                    pictures = renderer.pictures(poses, lenses, level.counts, steps=64)
                for number, picture in enumerate(pictures):
                    residual = residual_of(small, picture, seen)
                    if residual < least[number]:
                        best[number], least[number] = poses[number], residual
                        best_zooms[number] = zooms[number]
                        shown[number] = picture if only_judged else None
                if only_judged:
                    break
                poses, zooms = self._aligned(target, pictures, poses, lenses, zooms, level.steps)
            order = np.argsort(least)
            self.say(f"{level.scale}: {np.round(least[order], 4).tolist()}")
            kept: list[int] = []
            for index in order:  # two that came to the same place are one
                if all(degrees_apart(best[index], best[k]) > 2 for k in kept):
                    kept.append(int(index))
            others = [i for i in kept if degrees_apart(best[i], best[kept[0]]) > APART_DEGREES]
            tied = bool(others) and min(least[others]) < TIE * least[kept[0]]
            going_on = [i for i in kept[: level.keep] if least[i] <= CLEAR * least[kept[0]]]
            poses, zooms = best[going_on], best_zooms[going_on]
        pose, zoom = poses[0].astype(np.float32), float(zooms[0])
        final = shown[int(np.argmin(least))] if levels[-1] is LEVELS[-1] else None
        final = final or renderer.pictures([pose], lens.zoomed(zoom), FINAL)[0]
        return _Best(pose, zoom, final, tied)

    def _aligned(
        self,
        target: np.ndarray,
        pictures: Sequence[Picture],
        poses: np.ndarray,
        lenses: Sequence[Lens],
        zooms: np.ndarray,
        steps: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Poses and zooms moved by `align` towards the blurred query."""
        if self.inside_only:
            background = np.asarray(self.known.background, np.float32) / 255
            colours = [blurred_inside(picture, background) for picture in pictures]
        else:
            colours = [blurred(picture.rgb) for picture in pictures]
        band_px = 0 if self.inside_only else BAND_PX
        found = [points_of(*three, band_px) for three in zip(pictures, poses, lenses)]
        moved, zooms = align(
            target,
            np.stack(colours).reshape(len(poses), -1, 3),
            np.stack([points for points, _ in found]),
            np.stack([counts for _, counts in found]),
            poses,
            lenses,
            steps,
            zooms if self.seek_focal else None,
        )
        return moved.astype(np.float64), zooms
