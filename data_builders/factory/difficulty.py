"""How hard a rendered scene is: size, length and contrast of its faults, and what needs no training.

Two scores that any detector has to beat are measured on the test frames: the mean absolute difference
to the frame before, and the maximum of that difference after a 9x9 box blur. A kind of fault that one
of them finds with a frame AUC above 0.8 is too easy.

    python -m ipad_jax.data_builders.factory.difficulty DIR/<device>_<look> [...]
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from sklearn.metrics import roc_auc_score

from ipad_jax.data_builders.factory.faults import KINDS

POOL_PX = 9
TOO_EASY = 0.8  # frame AUC


def frame_differences(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and pooled maximum of the absolute difference to the frame before, float32 [F] each.

    The first frame, which has none before it, gets the second frame's values.
    """
    paths = sorted(folder.iterdir(), key=lambda path: int(path.stem))
    frames = np.stack([cv2.imread(str(path)) for path in paths]).astype(np.float32) / 255.0
    change = np.abs(np.diff(frames, axis=0)).mean(-1)
    pooled = [cv2.blur(picture, (POOL_PX, POOL_PX)).max() for picture in change]
    mean = change.mean((1, 2))
    return np.concatenate([mean[:1], mean]), np.asarray(pooled[:1] + pooled, np.float32)


def measure(scene: Path) -> dict[str, dict[str, float]]:
    """One row for each kind of fault in the scene, and one named `all`.

    Returns:
        {kind: {"events", "frames", "seconds" (median), "mask_share" (median), "contrast" (median
        grey levels), "auc_mean", "auc_pooled"}}; AUC of the kind's frames against all normal ones.
    """
    description = json.loads((scene / "scene.json").read_text())
    kinds, mean, pooled = [], [], []
    for folder in sorted((scene / "testing" / "frames").iterdir(), key=lambda path: int(path.name)):
        with np.load(scene / "testing" / "annotations" / f"{folder.name}.npz") as arrays:
            kinds.append(arrays["kind"])
        scores = frame_differences(folder)
        mean.append(scores[0])
        pooled.append(scores[1])
    kind, mean, pooled = np.concatenate(kinds), np.concatenate(mean), np.concatenate(pooled)
    faults = [fault for video in description["faults"].values() for fault in video]
    rows = {}
    for name in (*KINDS[1:], "all"):
        number = KINDS.index(name) if name in KINDS else None
        found = kind > 0 if number is None else kind == number
        chosen = [fault for fault in faults if name in ("all", fault["kind"])]
        if not found.any():
            continue
        against = found | (kind == 0)
        rows[name] = {
            "events": len(chosen),
            "frames": int(found.sum()),
            "seconds": float(np.median([f["visible_frames"] for f in chosen]) / description["fps"]),
            "mask_share": float(np.median([fault["mask_share"] for fault in chosen])),
            "contrast": float(np.median([fault["contrast"] for fault in chosen])),
            "auc_mean": float(roc_auc_score(found[against], mean[against])),
            "auc_pooled": float(roc_auc_score(found[against], pooled[against])),
        }
    return rows


def main(argv: list[str]) -> int:
    """Prints the table of every scene folder named; 1 if a kind is too easy."""
    if not argv:
        print(__doc__)
        return 2
    too_easy = False
    print("| scene | kind | events | frames | s | % of picture | contrast | mean | pooled |")
    print("|---|---|---|---|---|---|---|---|---|")
    for scene in map(Path, argv):
        seed = json.loads((scene / "scene.json").read_text())["seed"]
        for kind, row in measure(scene).items():
            easy = max(row["auc_mean"], row["auc_pooled"]) > TOO_EASY
            too_easy |= easy and kind != "all"
            print(
                f"| {scene.name}, seed {seed} | {kind} | {row['events']} | {row['frames']} | "
                f"{row['seconds']:.1f} | {100 * row['mask_share']:.1f} | {row['contrast']:.0f} | "
                f"{row['auc_mean']:.2f} | {row['auc_pooled']:.2f}{' (too easy)' if easy else ''} |"
            )
    return int(too_easy)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
