"""From images of an object to maps: pose, rendering, comparison; the one way to them."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from etils import epath

from ipad_jax.data_builders.objects import SAME_PROPORTIONS
from ipad_jax.data_builders.toys.animals import build
from ipad_jax.data_builders.toys.cast import cast
from ipad_jax.image.scorer import Scored
from ipad_jax.image.task import Arrays
from ipad_jax.input.images import ImageSource
from ipad_jax.pose.bent_lens import BentLens
from ipad_jax.pose.comparison import least_difference, over_usual
from ipad_jax.pose.cutting import with_known_background
from ipad_jax.pose.lighting import with_background, without_gain
from ipad_jax.pose.object_views import Lens, shrunk
from ipad_jax.pose.pictures import Counts, Renderer
from ipad_jax.pose.pose_search import (
    FINAL,
    FoundPose,
    Known,
    residual_of,
    search,
)
from ipad_jax.pose.retrieval import degrees_apart, gallery_of
from ipad_jax.pose.shading import light_of
from ipad_jax.pose.showing import (
    CLOUD,
    TURNTABLE,
    surface_points,
    upright,
    write_cloud,
    write_turntable,
)
from ipad_jax.pose.task import OCCUPIED_SIDE
from ipad_jax.pose.templates import Templates, templates_of
from ipad_jax.pose.warping import GoodViews
from ipad_jax.run.progress import Stages

TRUE_POSE = "with the true pose"  # rows beside the method
TRUE_RENDER = "with the true pose and the true rendering"
MORE_STARTS = 4  # times as many where no pose fits: near a pole many views look alike


class PoseScorer:
    """A learned object that images are compared with.

    Attributes:
      task: the method.
      arrays: what `fit` made.
      rows: name -> text of the rows beside the method.
    """

    # what earlier versions did not have
    needs: tuple[str, ...] = ("usual_gain", "usual_light", "usual_of_folds", "crops")
    final: Counts = FINAL  # samples of the picture that is compared

    def __init__(self, task: Any, model: Any, arrays: Arrays):
        if set(self.needs) - arrays.keys():
            raise ValueError(
                "fitted.npz of this run was made by an earlier version: delete it, in the run's folder or "
                "in one below eval/, and run again where the dataset is."
            )
        self.task, self.model, self.arrays = task, model, arrays
        self.background = arrays["background"][:3]
        self.levels = float(arrays["background"][3])
        count = OCCUPIED_SIDE**3
        occupied = np.unpackbits(arrays["occupied"], count=count).astype(bool)
        shape = (OCCUPIED_SIDE,) * 3
        self.renderer = Renderer(model, occupied.reshape(shape), self.background / 255)
        self.lens = Lens.of(np.median(arrays["lenses"], axis=0))
        bends = arrays.get("bent_lens", np.zeros(0))
        self.bent_lens = BentLens.of(bends) if len(bends) else None
        lenses = [Lens.of(row) for row in arrays["lenses"]]
        crops, circles, poses = (arrays[name] for name in ("crops", "circles", "poses"))
        self.gallery = gallery_of(crops, circles, poses, lenses, self.lens)

    def reference(self, image: np.ndarray, found: Any) -> np.ndarray | None:
        """The rendering that an image was compared with, uint8 [h, w, 3]; None where no pose was found."""
        return getattr(found, "reference", None)

    @property
    def views(self) -> np.ndarray:
        """From the object towards the cameras of the training views, [n, 3], z upwards."""
        poses = self.arrays["poses"]
        return poses[:, :3, 3] @ upright(poses).T

    def seen_from(self, found: FoundPose) -> np.ndarray:
        """From the object towards the camera of an image, [3], as `views`."""
        return upright(self.arrays["poses"]) @ found.pose[:3, 3]

    @cached_property
    def good(self) -> GoodViews:
        """The training views, with distances."""
        lenses = tuple(Lens.of(row) for row in self.arrays["lenses"])
        arrays = self.arrays
        return GoodViews(arrays["images"], arrays["distances"], arrays["poses"], lenses)

    def scored(self, images: Iterable[np.ndarray]) -> Iterator[Scored]:
        """Maps, scores and poses of images uint8 [h, w, 3], in order; each depends on no other.

        Raises:
          ValueError: an image of another kind, or of other proportions than the training views.
        """
        for image in images:
            small = self.fitted(image)
            yield self._compared(image, small, self.searched(small))

    def held_out(self, images: Iterable[np.ndarray]) -> Iterator[Scored]:
        """As `scored`, of all views that were held out: each by what is usual of others than itself."""
        folds = self.arrays.get("usual_of_folds", [None])
        for number, image in enumerate(images):
            small = self.fitted(image)
            usual = folds[number % len(folds)]
            yield self._compared(image, small, self.searched(small), usual)

    def photos(self, images: Iterable[np.ndarray]) -> Iterator[Scored]:
        """As `scored`, of photos as the camera takes them: where its lens bends, undistorted.

        The maps lie on the photos as they are.
        """
        if self.bent_lens is None:
            yield from self.scored(images)
            return
        for image in images:
            small = self.fitted(self.bent_lens.straight(image))
            found = self._compared(small, small, self.searched(small))
            height, width = image.shape[:2]
            on_photo = self.bent_lens.map_on_photo(found.map, width, height)
            yield found._replace(map=on_photo)

    def again(self, image: np.ndarray, found: FoundPose) -> Scored:
        """An image whose pose was found before: its map without another search."""
        return self._compared(image, self.fitted(image), found)

    @cached_property
    def templates(self) -> Templates:
        """What a search begins with where the background is not the training views'."""
        return templates_of(self.arrays["crops"], self.gallery)

    @property
    def known(self) -> Known:
        """What every search takes besides the image."""
        return Known(
            self.renderer,
            self.gallery,
            lambda: self.templates,
            self.lens,
            self.background,
            self.levels,
        )

    @property
    def usual(self) -> float:
        """Largest residual of training views at their own poses; infinite where it was not measured."""
        return float(self.arrays.get("usual_residual", np.inf))

    def searched(self, small: np.ndarray) -> FoundPose:
        """The pose that fits best; where none fits, once more from `MORE_STARTS` times as many starts.

        A border of another colour is another exposure where that explains the object too, else another
        background.

        Args: small, an image as `fitted` gives it.
        """
        exposed = self.exposed(small)
        if self.known.strange_background(exposed):
            return self._searched(small, strange=True)
        found = self._searched(exposed, strange=False)
        if found.fits or exposed is small:
            return found
        return min(found, self._searched(small, strange=True), key=lambda one: one.residual)

    def _searched(self, small: np.ndarray, strange: bool) -> FoundPose:
        starts = self.task.config.eval.starts
        found = self._search(small, starts, strange)
        if not found.fits:
            again = self._search(small, MORE_STARTS * starts, strange)
            found = min(found, again, key=lambda one: one.residual)
        return found

    def _search(self, small: np.ndarray, starts: int, strange: bool) -> FoundPose:
        seek_focal = self.task.config.eval.get("seek_focal", False)  # runs from before have no leaf
        found = search(small, self.known, starts, seek_focal=seek_focal, strange=strange)
        return dataclasses.replace(found, usual=self.usual)

    def at_pose(self, image: np.ndarray, pose: np.ndarray) -> Scored:
        """The map from a pose that is known."""
        small = self.fitted(image)
        exposed = self.exposed(small)
        picture = self.renderer.pictures([pose], self.lens, self.final)[0]
        residual, before = (
            residual_of(one.astype(np.float32) / 255, picture, picture.opacity > 0.5)
            for one in (exposed, small)
        )
        strange = self.known.strange_background(exposed) or before < residual
        found = FoundPose(
            pose, picture, before if strange else residual, usual=self.usual, strange=strange
        )
        return self._compared(image, small, found)

    def fitted(self, image: np.ndarray) -> np.ndarray:
        """An image at the size of the training views.

        Raises:
          ValueError: see `scored`.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(
                f"image is {image.dtype} {image.shape}, expected uint8 [h, w, 3] in RGB."
            )
        height, width = image.shape[:2]
        if abs(width * self.lens.height / (height * self.lens.width) - 1) > SAME_PROPORTIONS:
            raise ValueError(
                f"the image is {width}x{height} pixels, the training views {self.lens.width}x"
                f"{self.lens.height}: of other proportions, so from another camera; take the same one, "
                "uncropped."
            )
        size = (self.lens.width, self.lens.height)
        small = shrunk(image, max(size))
        if small.shape[1::-1] != size:
            small = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
        return small

    def exposed(self, small: np.ndarray) -> np.ndarray:
        """An image as `fitted` gives it, its background as bright as the training views'."""
        return with_background(small, self.background, self.levels)

    def _compared(
        self,
        image: np.ndarray,
        small: np.ndarray,
        found: FoundPose,
        usual: np.ndarray | None = None,
    ) -> Scored:
        """An image's map from its pose; `usual` in place of what is usual of all views held out."""
        usual = self.arrays["usual"] if usual is None else usual
        query = small if found.strange else self.exposed(small)
        query = query.astype(np.float32) / 255
        picture, blur_px = found.picture, self.task.config.eval.blur_px
        judged = np.ones(small.shape[:2], bool)
        if found.strange:
            query = with_known_background(query, picture.opacity, self.background / 255)
            judged = picture.opacity > 0.5
        lens = self.lens.zoomed(found.zoom)
        warped = self.good.warped(picture, found.pose, lens)
        evened = without_gain(query, picture, self.arrays["usual_gain"])
        least = least_difference(evened, picture, warped, blur_px)
        light = light_of(query, picture, found.pose, lens)
        if light.change > self.arrays["usual_light"]:
            lit = [view._replace(rgb=light.on(view.rgb)) for view in warped]
            rendered = picture._replace(rgb=light.on(picture.rgb))
            least = np.minimum(least, least_difference(query, rendered, lit, blur_px))
        aside = self.good.aside(found.pose)
        score_map = over_usual(least, picture, warped, aside, usual, blur_px) * judged
        score = self.task.reduce(score_map)
        size = (image.shape[1], image.shape[0])
        if size != (self.lens.width, self.lens.height):
            score_map = cv2.resize(score_map, size, interpolation=cv2.INTER_LINEAR)
        return Scored(score_map, score, found)

    def beside(self, source: ImageSource, index: int) -> dict[str, Scored]:
        """The rows with the true pose, and the rendering that made the image, where somebody knows them."""
        true = source.metadata.get("true_poses", {}).get(source.rows[index][0])
        if true is None:
            return {}
        image, pose = source.image(index), np.array(true, np.float32)
        rows = {TRUE_POSE: self.at_pose(image, pose)}
        if self.task.config.data.builder == "toys":
            found = rows[TRUE_POSE].found
            rgb = true_rendering(source.metadata, pose, self.lens)
            found = dataclasses.replace(found, picture=found.picture._replace(rgb=rgb))
            rows[TRUE_RENDER] = self._compared(image, self.fitted(image), found)
        return rows

    def measured(self, source: ImageSource, scored: Sequence[Scored]) -> dict[str, Any]:
        """Errors of poses where the true ones are known, and the share that is said to be uncertain.

        Uncertain is a pose of an image that is inspected; flagged are also those that are not.
        """
        uncertain = [bool(one.found.note) and one.inspected for one in scored]
        measured: dict[str, Any] = {"share_uncertain": float(np.mean(uncertain))}
        true = source.metadata.get("true_poses", {})
        pairs = [
            (found.found, PoseError.between(found.found.pose, np.array(true[name])))
            for found, (name, _) in zip(scored, source.rows)
            if name in true
        ]
        if not pairs:
            return measured
        degrees = np.array([error.degrees for _, error in pairs])
        units = np.array([error.units for _, error in pairs])
        right = (degrees < 1) & (units < 0.02)
        flagged = np.array([bool(found.note) for found, _ in pairs])
        return {
            **measured,
            "pose_within_1_degree": float((degrees < 1).mean()),
            "pose_success": float(right.mean()),
            "pose_median_degrees": float(np.median(degrees)),
            "pose_median_units": float(np.median(units)),
            "share_of_wrong_poses_flagged": float(flagged[~right].mean())
            if not right.all()
            else None,
            "share_of_right_poses_flagged": float(flagged[right].mean()) if right.any() else None,
        }

    def show(self, folder: epath.Path, source: ImageSource, stages: Stages) -> dict[str, str]:
        """Writes turntable.webm, and object.ply in the units of the training views' poses."""
        with stages("drawing the object") as progress:
            poses = self.arrays["poses"]
            write_turntable(folder / TURNTABLE, self.renderer, poses, self.lens, progress)
        points, colours = surface_points(self.model, self.good)
        if "ball" in source.metadata:
            *centre, radius = source.metadata["ball"]
            points = points * radius + np.array(centre)
        write_cloud(folder / CLOUD, points, colours)
        return {
            TURNTABLE: f"Once around; {CLOUD} beside this page has {len(points):,} points of it."
        }

    def warm_up(self) -> None:
        """Compiles what the first image would wait for."""
        grey = np.full((self.lens.height, self.lens.width, 3), 128, np.uint8)
        list(self.scored([grey]))


def true_rendering(metadata: dict[str, Any], pose: np.ndarray, lens: Lens) -> np.ndarray:
    """What a good toy shows from a pose world_from_camera [4, 4] in the unit ball: float32 [h, w, 3].

    Args: metadata of the prepared toy.
    """
    *centre, radius = metadata["ball"]
    own = np.array(pose, np.float64)
    own[:3, 3] = own[:3, 3] * radius + np.array(centre)
    picture = cast(build(metadata["source"]).solids, own, lens.fx, lens.width)
    return picture.image.astype(np.float32) / 255


@dataclasses.dataclass(frozen=True)
class PoseError:
    """How far a found pose is from the true one: degrees, and units of the object's radius."""

    degrees: float
    units: float

    @classmethod
    def between(cls, found: np.ndarray, true: np.ndarray) -> "PoseError":
        """Of two poses world_from_camera [4, 4]; units: of the object's centre as the camera sees it."""
        a, b = (pose[:3, :3].T @ -pose[:3, 3] for pose in (found, true))
        return cls(degrees_apart(found, true), float(np.linalg.norm(a - b)))
