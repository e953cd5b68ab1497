"""The record of a view of an object: an image, and for training views the camera, in the object's own units.

The world is moved and scaled so that the object's visual hull lies in the ball of radius 1 about the origin.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import tensorflow_datasets as tfds

from ipad_jax.data_builders.encoding import encode, resize_mask
from ipad_jax.data_builders.files import DataError, Problem
from ipad_jax.data_builders.image_folder.layout import GOOD, Photo, scan
from ipad_jax.data_builders.images import ImageBuilder, ImageSet
from ipad_jax.data_builders.object_folder.colmap import (
    find_models,
    photos_in_model,
    read_colmap,
)
from ipad_jax.data_builders.object_folder.hull import (
    covered,
    occupied_box,
    refusing_most,
    visual_hull,
)
from ipad_jax.data_builders.object_folder.silhouettes import background_of, silhouette
from ipad_jax.data_builders.object_folder.transforms import (
    FISHEYE,
    View,
    crossing_of_axes,
    left_out,
    read_transforms,
    scaled,
    undistort,
)
from ipad_jax.data_builders.photos import is_photo, read_mask, read_photo, size_of

TRUE_POSES = "test_poses.json"  # of test views, where somebody knows them
MASKS = "masks"  # folder of masks that cut training photos out
HULL_SIDE = 48  # voxels along each side of the box that the object is looked for in
HULL_PX = 160  # pixels of the longer side of the silhouettes that carve it
FEWEST = 8  # training views
SAME_PROPORTIONS = 0.02  # relative: of a photo to be judged and the training photos
# Of a silhouette that the hull covers, in the median: right ones have 0.98 to 1, two swapped poses of 53
# leave 0.90, poses of other photos 0.4
AGREE, NO_OBJECT = 0.95, 0.7

TREE = """
    DIR/train/good/<name>.png       photos of the good object from all around, against one plain colour
    DIR/transforms.json             their cameras, as of NeRF, MAD, nerfstudio or instant-ngp; or a
    DIR/sparse/0/                   COLMAP model: cameras and images, .txt or .bin
    DIR/masks/<name>.png            optional: white on the object of each training photo; of a.jpg and
                                    a.png masks/a.jpg.png and masks/a.png.png
    DIR/test/{good,<defect>}/       optional, without poses
    DIR/ground_truth/<defect>/      optional: <name>_mask.png, white on the defect
Photos may also lie in DIR/images, as the file of poses says."""


@dataclasses.dataclass(frozen=True)
class ObjectSet(ImageSet):
    """Views of an object; see `ImageSet`.

    Attributes:
        views: camera of each training photo, by its path.
        size: pixels of the longer side that is stored.
        centre, radius: of the ball that becomes the unit ball.
    """

    views: Mapping[Path, View] = dataclasses.field(default_factory=dict)
    size: int = 0
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    radius: float = 1.0


class ObjectBuilder(ImageBuilder, skip_registration=True):
    """Base of the builders of objects; a child gives `BUILDER_CONFIGS` and `read_images`."""

    more_features: ClassVar = {
        "focal": tfds.features.Tensor(shape=(2,), dtype=np.float32),  # pixels, x and y
        "centre": tfds.features.Tensor(shape=(2,), dtype=np.float32),  # pixels from the corner
        # OpenGL's axes, in units of the hull's radius; NaN where unknown
        "world_from_camera": tfds.features.Tensor(shape=(4, 4), dtype=np.float32),
    }

    @property
    def encode_images(self) -> Any:
        """See `encode_views`."""
        return encode_views


def read_object(folder: Path, size: int) -> tuple[ObjectSet, dict[str, Any]]:
    """The views of an object's folder, and metadata: background, its levels, the ball, true poses.

    Raises:
        FileNotFoundError: no such folder, or no poses in it.
        DataError: names every file that is wrong.
    """
    views, layout_test, kinds, notes = find_views(folder)
    if problems := _other_cameras(layout_test, views[0]):
        raise DataError(problems)
    pictures = {view.path: small_picture(read_view(view), view, HULL_PX) for view in views}
    try:
        _check_sizes(views)
        background, levels, centre, radius, doubts = located(list(pictures.values()))
    except ValueError as error:
        raise DataError([Problem(folder, str(error))]) from error
    by_path = {view.path: view for view in views}
    train = [Photo(view.path) for view in views]
    images = ObjectSet(
        folder, train, layout_test, kinds, None, by_path, size, tuple(centre), radius
    )
    metadata = {
        "source": folder.name,
        "background": [float(c) for c in background],
        "levels": levels,
        "ball": [*centre, radius],
        "true_poses": _true_poses(folder, centre, radius),
        "bent_lens": bent_lens(views[0]),
        "notes": notes + doubts,
    }
    return images, metadata


def bent_lens(view: View) -> list[float]:
    """Width, height, fx, fy, cx, cy, whether it is a fisheye, coefficients: of a lens that bends; else empty.

    A photo without pose, a test photo or one to be judged, is taken for one of the first training view's.
    """
    if not view.distortion:
        return []
    fisheye = float(view.model == FISHEYE)
    numbers = (view.width, view.height, view.fx, view.fy, view.cx, view.cy, fisheye)
    return [float(number) for number in (*numbers, *view.distortion)]


def find_views(folder: Path) -> tuple[list[View], Sequence[Photo], tuple[str, ...], list[str]]:
    """Training views with their cameras; test photos, kinds, and notes for a person; opens no image whole."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder. Expected:{TREE}")
    models = find_models(folder)
    unposed: set[Path] = set()
    notes = []
    if (folder / "transforms.json").is_file():
        views = read_transforms(folder / "transforms.json")
        unposed = left_out(folder, json.loads((folder / "transforms.json").read_text()))
    elif models:
        views = read_colmap(models[0], folder)
        registered = {view.path for view in views}
        beside = [
            photo for place in {path.parent for path in registered} for photo in place.iterdir()
        ]
        unposed = {photo for photo in beside if is_photo(photo)} - registered
        if others := models[1:]:
            sizes = ", ".join(f"{model.name} {photos_in_model(model)}" for model in others)
            notes.append(
                f"{len(models)} COLMAP models, which share no scale: the largest is used, "
                f"{models[0].relative_to(folder)} with {len(views)} photos; not used are {sizes} photos"
            )
    else:
        raise FileNotFoundError(
            f"{folder}: no camera poses, neither transforms.json nor a COLMAP model. Expected:{TREE}"
        )
    if len(views) < FEWEST:
        message = f"{len(views)} photos with poses: at least {FEWEST} are needed, from all around"
        raise DataError([Problem(folder, message)])
    views = with_masks(folder, views)
    test: Sequence[Photo] = ()
    if unposed:
        notes.append(f"{len(unposed)} photos have no pose, not used: {_some(unposed)}")
    if (folder / "train").is_dir():
        layout, problems = scan(folder)
        if problems:
            raise DataError(problems)
        test = layout.test
        missing = {photo.path for photo in layout.train} - {view.path for view in views} - unposed
        if missing:
            wrong = [Problem(path, "has no pose in the file of poses") for path in sorted(missing)]
            raise DataError(wrong)
        if layout.unpaired:
            names = _some(layout.unpaired)
            notes.append(f"{len(layout.unpaired)} masks belong to no image, not used: {names}")
    kinds = (GOOD, *sorted({photo.kind for photo in test} - {GOOD}))
    return views, test, kinds, notes


def _some(paths: Iterable[Path]) -> str:
    return ", ".join(path.name for path in sorted(paths)[:5])


def with_masks(folder: Path, views: Sequence[View]) -> list[View]:
    """The views with their masks: of the file of poses, else of the folder, where there are any.

    A mask is called as its photo with `.png` behind it, or in place of the photo's own ending.

    Raises: DataError: some have one, and others do not; or two photos share one.
    """
    place = folder / MASKS
    found = list(views)
    if place.is_dir() and not any(view.mask for view in views):
        found = [dataclasses.replace(view, mask=_mask_in(place, view.path)) for view in views]
    if not any(view.mask for view in found):
        return found
    missing = [view for view in found if not (view.mask and view.mask.is_file())]
    if missing:
        why = "other photos have masks, so each photo with a pose needs one"
        raise DataError(
            [
                Problem(v.mask, f"is missing: {why}")
                if v.mask
                else Problem(v.path, f"has no mask: {why}")
                for v in missing
            ]
        )
    photos: dict[Path | None, list[Path]] = {}
    for view in found:
        photos.setdefault(view.mask, []).append(view.path)
    if shared := {mask: paths for mask, paths in photos.items() if len(paths) > 1}:
        about = (
            "is the mask of {}: give each photo its own, called as the photo with .png behind it"
        )
        raise DataError(
            [Problem(mask or place, about.format(_some(paths))) for mask, paths in shared.items()]
        )
    return found


def _mask_in(place: Path, photo: Path) -> Path:
    whole = place / f"{photo.name}.png"
    return whole if whole.is_file() else place / f"{photo.stem}.png"


def read_view(view: View) -> np.ndarray:
    """The photo of a view, uint8 [h, w, 3] RGB: cut out and laid over white where it has a mask.

    Raises: ValueError: it cannot be read, or the mask is of another size.
    """
    image = read_photo(view.path)
    if view.mask is None:
        return image
    inside = read_mask(view.mask)
    if inside.shape != image.shape[:2]:
        raise ValueError(
            f"{view.mask}: is {inside.shape[1]}x{inside.shape[0]}, its photo {image.shape[1]}x"
            f"{image.shape[0]}: a mask must be as large as its photo"
        )
    return np.where(inside[..., None], image, np.uint8(255))


def located(
    pictures: Sequence[tuple[np.ndarray, View]],
) -> tuple[np.ndarray, float, np.ndarray, float, list[str]]:
    """Background and levels as of `background_of`, centre and radius as of `ball_of`, notes of a doubt.

    Raises: ValueError where background, silhouettes and poses allow no object.
    """
    background, levels = background_of([image for image, _ in pictures])
    centre, radius = ball_of(pictures, background, levels)
    return (
        background,
        levels,
        centre,
        radius,
        _disagreement(pictures, background, levels, centre, radius),
    )


def ball_of(
    pictures: Sequence[tuple[np.ndarray, View]], background: np.ndarray, levels: float
) -> tuple[np.ndarray, float]:
    """Centre [3] and radius of a ball around the visual hull.

    Raises: ValueError where the silhouettes and the poses allow no object.
    """
    views = [view for _, view in pictures]
    silhouettes = [silhouette(image, background, levels) for image, _ in pictures]
    poses = np.stack([view.world_from_camera for view in views])
    centre = crossing_of_axes(poses)
    away = np.linalg.norm(poses[:, :3, 3] - centre, axis=1)
    # What the cameras see at the place they look at: the object is in there, mostly
    reach = [d * max(v.width / v.fx, v.height / v.fy) / 2 for d, v in zip(away, views)]
    half = min(float(np.median(reach)), 0.95 * float(away.min()))
    for _ in range(2):  # once more in the box that is left, finer
        low, high = centre - half, centre + half
        hull = visual_hull(views, silhouettes, low, high, HULL_SIDE)
        a, b = occupied_box(hull, low, high)
        size = 2 * half / HULL_SIDE
        places = low + size * (np.argwhere(hull) + 0.5)
        centre = (a + b) / 2
        half = float(np.max(b - a)) / 2 * 1.02
    radius = float(np.linalg.norm(places - centre, axis=1).max() + size / 2)
    return centre, radius


def _disagreement(
    pictures: Sequence[tuple[np.ndarray, View]],
    background: np.ndarray,
    levels: float,
    centre: np.ndarray,
    radius: float,
) -> list[str]:
    """A note where silhouettes and poses do not quite agree.

    Raises: ValueError where they are not of one object.
    """
    views = [view for _, view in pictures]
    silhouettes = [silhouette(image, background, levels) for image, _ in pictures]
    box = (centre - radius, centre + radius)
    hull = visual_hull(views, silhouettes, *box, HULL_SIDE)
    share = float(np.median(covered(views, silhouettes, hull, *box)))
    if share >= AGREE:
        return []
    names = refusing_most(views, silhouettes, *box, HULL_SIDE)
    text = (
        f"what all silhouettes allow covers {share:.0%} of one in the median, expected {AGREE:.0%} or more: "
        "some poses are of other photos, or some silhouettes lack a part of the object. Most against the "
        f"others: {_some(map(Path, names))}"
    )
    if share < NO_OBJECT:
        raise ValueError(text)
    return [text]


def _check_sizes(views: Sequence[View]) -> None:
    """Raises ValueError where training views have several proportions: one size is learned."""
    sizes: dict[tuple[int, int], list[View]] = {}
    for view in views:
        scale = HULL_PX / max(view.width, view.height)
        sizes.setdefault((round(view.width * scale), round(view.height * scale)), []).append(view)
    if len(sizes) > 1:
        most, *others = sorted(sizes.values(), key=lambda group: -len(group))
        raise ValueError(
            f"the training photos differ in proportions: {len(most)} are {most[0].width}x{most[0].height}, "
            + "; ".join(
                f"{_some(v.path for v in group)} {group[0].width}x{group[0].height}"
                for group in others
            )
            + ": photos of one camera, uncropped and one way up, are needed; leave the others out"
        )


def _other_cameras(test: Sequence[Photo], lens: View) -> list[Problem]:
    """Test photos that the training photos' camera did not take; those that cannot be read are not looked at.

    Of another size are refused where the lens bends, else those of other proportions.
    """
    problems = []
    for photo in test:
        size = size_of(photo.path)
        if size is None:
            continue
        width, height = size
        away = abs(width * lens.height / (height * lens.width) - 1)
        what = "of other proportions" if away > SAME_PROPORTIONS else ""
        if lens.distortion and size != (lens.width, lens.height):
            what = "and their lens bends"
        if what:
            about = (
                f"is {width}x{height}, the training photos are {lens.width}x{lens.height}, {what}: a test "
                "photo must come from the same camera, uncropped and the same way up"
            )
            problems.append(Problem(photo.path, about))
    return problems


def small_picture(image: np.ndarray, view: View, longest: int) -> tuple[np.ndarray, View]:
    """A picture and its camera, a pinhole's, at most so large."""
    image, view = undistort(image, view)
    scale = min(1.0, longest / max(view.width, view.height)) if longest else 1.0
    if scale == 1.0:
        return image, view
    width, height = round(view.width * scale), round(view.height * scale)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return image, scaled(view, width, height)


def encode_views(photos: Iterable[Photo], images: ObjectSet) -> Iterator[dict[str, Any]]:
    """Records of some views; see `images.encode_photos`.

    A test photo has no camera of its own: it is taken for one of the first training view's.
    """
    lens = next(iter(images.views.values()))
    for photo in photos:
        view = images.views.get(photo.path)
        image = read_photo(photo.path) if view is None else read_view(view)
        height, width = image.shape[:2]
        camera = view or dataclasses.replace(lens, path=photo.path, width=width, height=height)
        stored, camera = small_picture(image, camera, images.size)
        known = view is not None
        unknown = np.full(2, np.nan, np.float32)
        pose = normalised(camera.world_from_camera, images.centre, images.radius)
        mask = b""
        if photo.mask is not None:
            marked = read_mask(photo.mask)
            if marked.shape != (height, width):
                raise ValueError(
                    f"{photo.mask}: is {marked.shape[1]}x{marked.shape[0]}, its image {width}x{height}: a "
                    "mask must be as large as its image"
                )
            size = (stored.shape[1], stored.shape[0])
            mask = encode(".png", resize_mask(marked.astype(np.uint8) * 255, size))
        yield {
            "image": encode(".png", cv2.cvtColor(stored, cv2.COLOR_RGB2BGR)),
            "name": photo.path.relative_to(images.folder).as_posix(),
            "label": int(photo.kind != GOOD),
            "defect": images.kinds.index(photo.kind),
            "mask": mask,
            "size": f"{stored.shape[0]}x{stored.shape[1]}",
            "focal": np.array([camera.fx, camera.fy], np.float32) if known else unknown,
            "centre": np.array([camera.cx, camera.cy], np.float32) if known else unknown,
            "world_from_camera": pose if known else np.full((4, 4), np.nan, np.float32),
        }


def normalised(pose: np.ndarray, centre: Sequence[float], radius: float) -> np.ndarray:
    """world_from_camera float32 [4, 4] in the world whose unit ball is the given one."""
    moved = np.array(pose, np.float64)
    moved[:3, 3] = (moved[:3, 3] - np.asarray(centre)) / radius
    return moved.astype(np.float32)


def _true_poses(folder: Path, centre: np.ndarray, radius: float) -> dict[str, list]:
    """world_from_camera of test images by name; empty where nobody knows them."""
    path = folder / TRUE_POSES
    if not path.is_file():
        return {}
    frames = json.loads(path.read_text())["frames"]
    return {
        frame["file_path"].removeprefix("./"): normalised(
            np.array(frame["transform_matrix"]), tuple(centre), radius
        ).tolist()
        for frame in frames
    }
