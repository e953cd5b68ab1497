"""Tiny prepared datasets, written through the builders' own record code."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ipad_jax.data_builders.frames import Frame, FrameBuilder, FrameConfig

KINDS = ("normal", "appearance")


def picture(video: int, frame: int, height: int = 16, width: int = 24) -> np.ndarray:
    """A flat BGR picture whose colours say which frame it is; JPEG keeps flat colours to +-2."""
    return np.full((height, width, 3), (10 * video + 5, 6 * frame + 3, 128), np.uint8)


@dataclass
class FakeVideo:
    random_access = True
    index: int
    name: str
    length: int
    test: bool = False
    fps: float = 25.0
    cycle_frames: float | None = None
    num_labels: int | None = None
    skip_phase: bool = field(default=False)

    def frames(self):
        for i in range(self.length):
            faulty = self.test and i >= self.length // 2
            yield Frame(
                load=lambda i=i: picture(self.index, i),
                label=int(faulty) if self.test else -1,
                phase=float("nan") if self.test or self.skip_phase else i / self.length,
                kind=int(faulty),
                cycle=self.index,
                load_mask=(lambda: fault_mask()) if faulty else None,
            )


def fault_mask() -> np.ndarray:
    mask = np.zeros((16, 24, 3), np.uint8)
    mask[4:8, 6:12] = 255
    return mask


class TinyBuilder(FrameBuilder, skip_registration=True):
    """Writes the lengths it is given."""

    name = "factory"
    pkg_dir_path = Path(__file__).parent
    BUILDER_CONFIGS = ()

    def __init__(self, **kwargs):
        self.lengths = kwargs.pop("lengths")
        super().__init__(**kwargs)

    def read_videos(self, manual_dir):
        videos = {
            split: [
                FakeVideo(i, f"{i + 1:02d}", n, test=split == "test", cycle_frames=float(n))
                for i, n in enumerate(lengths)
            ]
            for split, lengths in self.lengths.items()
        }
        return videos, {"kinds": list(KINDS), "mislabelled": ["02"], "source": "drawn"}


def write_dataset(root: Path, **lengths: tuple[int, ...]) -> Path:
    """Prepares splits with videos of the given lengths, 24 wide and 16 high; returns the folder."""
    config = FrameConfig(scene="tiny", width=24, height=16)
    builder = TinyBuilder(data_dir=root, config=config, lengths=lengths, file_format="array_record")
    builder.download_and_prepare()
    return Path(builder.data_dir)
