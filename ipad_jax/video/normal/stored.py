"""What a run remembers of normal footage: made once by `fit_normal`, read by all that scores frames.

Everything is of frames that the model was fitted on; footage held out for calibration is not among them, so
that the threshold rests on frames that are as new to it as tomorrow's are.
"""

from dataclasses import dataclass

import numpy as np
from ml_collections import ConfigDict

from ipad_jax.input.frames import FrameSource
from ipad_jax.nn.backbones import weights_file
from ipad_jax.nn.weight_files import sha256
from ipad_jax.video.normal import features, frames, motion
from ipad_jax.video.normal.features import Prototypes, load_extractor
from ipad_jax.video.normal.frames import NormalFrames
from ipad_jax.video.normal.motion import NormalMotion
from ipad_jax.video.normal.phase_tracking import PhaseMap
from ipad_jax.video.normal.places import fitted_frames
from ipad_jax.video.normal.small_picture import SmallPictures, reference_of, small_picture

FIT_LEAVES = (
    "eval.nearest_px",
    "eval.motion_px",
    "eval.register",
    "eval.features",
    "eval.features_weights",  # runs of before 0.3 lack it
)
REFERENCE_FRAMES = 200  # normal frames whose median the reference is, at most; our choice

FEATURES_FILE = "features_sha256"  # array: digest of the network's file, uint8 [32]
LEARNT = "learnt"  # array, and key of `made_with`, that says which learnt frames are among those

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Normal:
    """What frames are compared with; a component whose part is None is NaN.

    Attributes:
      frames: pictures, for `nearest`.
      motion: changes, for `motion`.
      features: prototypes, for `features`.
      phases: what the machine looks like at every phase; None: the period head's phase alone counts.
      learnt: names the frames that `ipad-jax learn` added (learnt.py); "" without any.
    """

    frames: NormalFrames | None = None
    motion: NormalMotion | None = None
    features: Prototypes | None = None
    phases: PhaseMap | None = None
    learnt: str = ""

    @property
    def maps(self) -> dict[str, NormalFrames | Prototypes]:
        """Those that give a map of distances, by component."""
        found = {"nearest": self.frames, "features": self.features}
        return {name: part for name, part in found.items() if part is not None}

    def warm_up(self) -> None:
        """Computes what the first frame would wait for."""
        for part in (*self.maps.values(), self.phases):
            if part is not None:
                part.warm_up()


def fit_normal(config: ConfigDict, source: FrameSource) -> Arrays:
    """The arrays of `normal_of`, from a run's training footage.

    Args:
      config: of the run; `data`, the model's period head and `FIT_LEAVES` count.
      source: the training split.

    Raises:
      FileNotFoundError, ModuleNotFoundError, ValueError: the network of `eval.features` cannot be read, see
        `nn.backbones.make_backbone`.
    """
    section, arrays = config.eval, {}

    def view_of(side: int) -> SmallPictures:
        name = f"reference_{side}px"
        if section.register and name not in arrays:
            places, _ = fitted_frames(config, source, REFERENCE_FRAMES, REFERENCE_FRAMES)
            pictures = [small_picture(source.frames(v, [f])[0], side) for v, f in places]
            arrays[name] = reference_of(np.stack(pictures))
        return SmallPictures(side, arrays.get(name))

    if section.nearest_px:
        view = view_of(section.nearest_px)
        places, phase = fitted_frames(config, source, frames.MAX_FRAMES, frames.MAX_WITHOUT_PHASE)
        arrays["frames_pictures"] = np.stack([view(source.frames(v, [f])[0]) for v, f in places])
        arrays["frames_phase"] = phase
        arrays["frames_group"] = frames.groups_of([v for v, _ in places])
    if section.motion_px:
        view, limit = view_of(section.motion_px), motion.MAX_FRAMES
        places, phase = fitted_frames(config, source, limit, limit, skip=max(motion.LAGS))
        if places:  # else no video is longer than the longest lag
            back = (0, *motion.LAGS)
            arrays["motion_changes"] = np.stack(
                [
                    motion.changes_at(
                        [view(x) for x in source.frames(v, [f - lag for lag in back])]
                    )
                    for v, f in places
                ]
            )
            arrays["motion_phase"] = phase
    if section.features:
        extractor = load_extractor(section.features, section.get("features_weights", ""))
        arrays[FEATURES_FILE] = _features_digest(section)
        places, phase = fitted_frames(config, source, features.MAX_FRAMES, features.MAX_FRAMES)
        pictures = (extractor.picture(source.frames(v, [f])[0]) for v, f in places)
        arrays["features_cells"] = np.stack([extractor.cells(p) for p in pictures])
        arrays["features_phase"] = phase
    return arrays


def normal_of(config: ConfigDict, arrays: Arrays) -> Normal:
    """What `fit_normal` made, ready to compare with.

    Raises:
      FileNotFoundError, ModuleNotFoundError, ValueError: as `fit_normal`; another file of weights.
    """
    section = config.eval

    def view_of(side: int) -> SmallPictures:
        return SmallPictures(side, arrays.get(f"reference_{side}px"))

    near = moving = alike = phases = None
    if section.nearest_px:
        pictures, phase = arrays["frames_pictures"], arrays["frames_phase"]
        group = arrays["frames_group"]
        near = NormalFrames(pictures, phase, view_of(section.nearest_px), group)
        if section.track_phase and near.has_phase:
            own = group != frames.LEARNT
            phases = PhaseMap(pictures[own], phase[own], group[own])
    if section.motion_px and "motion_changes" in arrays:
        view = view_of(section.motion_px)
        moving = NormalMotion(arrays["motion_changes"], arrays["motion_phase"], view)
    if section.features:
        cells, phase = arrays["features_cells"], arrays["features_phase"]
        made = arrays.get(FEATURES_FILE)  # None: of before 0.3, of Lite0's only file
        if made is not None and not np.array_equal(made, _features_digest(section)):
            raise ValueError(
                f"eval.features={section.features}: the run's features were made with the weights of a file "
                f"of SHA-256 {made.tobytes().hex()}, and eval.features_weights="
                f"{section.get('features_weights', '')!r} is another one. Put that file there."
            )
        extractor = load_extractor(section.features, section.get("features_weights", ""))
        alike = Prototypes(extractor, cells, phase)
    return Normal(near, moving, alike, phases, learnt_of(arrays))


def learnt_of(arrays: Arrays) -> str:
    """Names the frames that were added to what `fit_normal` made; "" without any."""
    return arrays[LEARNT].tobytes().hex() if LEARNT in arrays else ""


def _features_digest(section: ConfigDict) -> np.ndarray:
    """SHA-256 of the weights of the network of `eval.features`."""
    file = weights_file(section.features, section.get("features_weights", ""))
    return np.frombuffer(bytes.fromhex(sha256(file)), np.uint8)
