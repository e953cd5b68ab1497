"""What the IPAD archive is known to hold, as data; `ipad-jax validate ipad` checks against it.

Folder counts of all scenes, frame counts of R01-R04 and the four totals are known exactly (the
totals are the paper's, section 3; the rest agrees in several published loaders). For S01-S12 only
typical folder lengths are known: they are checked as a range, never as an exact count.
"""

from __future__ import annotations

import dataclasses

TOTAL_TRAIN_FOLDERS = 776
TOTAL_TEST_FOLDERS = 292
TOTAL_TRAIN_FRAMES = 430_867
TOTAL_TEST_FRAMES = 167_112


@dataclasses.dataclass(frozen=True)
class ExpectedScene:
    """Folder counts, exact frame counts where known, and the usual length of a training folder."""

    train_folders: int
    test_folders: int
    typical_length: tuple[int, int]  # frames of most training folders, lowest and highest
    train_frames: int | None = None
    test_frames: int | None = None


# R01-R04's typical lengths vary from folder to folder: no range is known, so a wide one is given.
EXPECTED = {
    "R01": ExpectedScene(34, 15, (115, 460), 7_808, 3_685),
    "R02": ExpectedScene(30, 15, (295, 1_180), 17_756, 9_618),
    "R03": ExpectedScene(22, 17, (350, 1_390), 15_346, 12_005),
    "R04": ExpectedScene(25, 19, (195, 780), 9_732, 8_154),
    "S01": ExpectedScene(80, 21, (126, 126)),
    "S02": ExpectedScene(55, 19, (251, 251)),
    "S03": ExpectedScene(55, 19, (826, 826)),
    "S04": ExpectedScene(55, 19, (751, 751)),
    "S05": ExpectedScene(40, 15, (626, 626)),
    "S06": ExpectedScene(50, 19, (626, 626)),
    "S07": ExpectedScene(55, 19, (576, 576)),
    "S08": ExpectedScene(55, 19, (526, 601)),
    "S09": ExpectedScene(55, 19, (251, 251)),
    "S10": ExpectedScene(55, 19, (826, 826)),
    "S11": ExpectedScene(55, 19, (926, 926)),
    "S12": ExpectedScene(55, 19, (751, 751)),
}
SCENES = tuple(EXPECTED)

# Test folders whose labels disagree with their frames: (frames, labels). Kept, listed, not mended.
KNOWN_MISLABELLED = {
    ("R02", "12"): (806, 805),
    ("R02", "13"): (609, 608),
    ("R02", "14"): (497, 498),
    ("S12", "13"): (1000, 1001),
    **{("S05", f"{number:02d}"): (626, 676) for number in range(9, 16)},
}
# Training folders too short to hold a cycle: their frames are used, their phase is unknown.
KNOWN_SHORT = {("S05", "19"): 26}
