"""A prepared dataset of a drawn machine: a block that crosses the picture once a cycle."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ipad_jax.data_builders.frames import Frame, FrameBuilder, FrameConfig

CYCLE = 12  # frames


def picture(phase: float, size: int, faulty: bool) -> np.ndarray:
    """Grey floor, a green block at the phase's place, a red spot where faulty."""
    image = np.full((size, size, 3), 90, np.uint8)
    left = round(phase * (size - size // 4))
    image[size // 3 : 2 * size // 3, left : left + size // 4] = (40, 200, 60)
    if faulty:
        image[: size // 4, : size // 4] = (20, 20, 230)
    return image


@dataclass
class MovingVideo:
    random_access = True
    name: str
    length: int
    size: int
    test: bool
    known_phase: bool
    fps: float = 25.0
    num_labels: int | None = None

    @property
    def cycle_frames(self) -> float | None:
        return float(CYCLE) if self.known_phase else None

    def frames(self):
        for i in range(self.length):
            phase = i % CYCLE / CYCLE
            faulty = self.test and i >= self.length // 2
            yield Frame(
                load=lambda phase=phase, faulty=faulty: picture(phase, self.size, faulty),
                label=int(faulty) if self.test else -1,
                phase=phase if self.known_phase and not self.test else float("nan"),
                kind=int(faulty) if self.test else 0,
                cycle=i // CYCLE,
                load_mask=None,
            )


class MovingBuilder(FrameBuilder, skip_registration=True):
    """Stands in for any of the three video builders."""

    name = "factory"
    pkg_dir_path = Path(__file__).parent
    BUILDER_CONFIGS = ()

    def __init__(self, *, known_phase: bool, num_train: int, length: int, **kwargs):
        self.shape = (known_phase, num_train, length)
        super().__init__(**kwargs)

    def read_videos(self, manual_dir):
        known_phase, num_train, length = self.shape
        size = self.builder_config.width
        videos = {
            split: [
                MovingVideo(f"{i + 1:02d}", length, size, split == "test", known_phase)
                for i in range(count)
            ]
            for split, count in {"train": num_train, "test": 2}.items()
        }
        return videos, {"kinds": ["normal", "appearance"], "mislabelled": [], "source": "drawn"}


def write_moving(
    root: Path,
    builder: str,
    scene: str,
    *,
    size: int = 32,
    known_phase: bool = True,
    num_train: int = 10,
    length: int = CYCLE,
) -> Path:
    """Prepares a scene under the name of one of the builders; returns its folder."""
    made = type("Builder", (MovingBuilder,), {"name": builder}, skip_registration=True)(
        data_dir=root,
        config=FrameConfig(scene=scene, width=size, height=size),
        file_format="array_record",
        known_phase=known_phase,
        num_train=num_train,
        length=length,
    )
    made.download_and_prepare()
    return Path(made.data_dir)
