"""Renders a scene into IPAD's folder layout, with the sidecar files that IPAD lacks.

<out_dir>/<device>_<look>/training/frames/<NN>/<n>.jpg       single cycles, then long videos
                         /training/annotations/<NN>.npz      phase, cycle, kind
                         /testing/frames/<NN>/<n>.jpg, annotations/<NN>.npz
                         /testing/masks/<NN>/<n>.png         0/255, frames with a visible fault
                         /test_label/<NNN>.npy               0/1 a frame
                         /scene.json

python -m ipad_jax.data_builders.factory.write DIR --device conveyor --size 256
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from ipad_jax.data_builders.factory import faults as faults_lib
from ipad_jax.data_builders.factory import scene as scene_lib
from ipad_jax.data_builders.factory.devices import DEVICES
from ipad_jax.data_builders.factory.faults import KINDS, VARIANTS, Script
from ipad_jax.data_builders.factory.machine import PALETTES, State
from ipad_jax.data_builders.factory.render import View, render

FPS = 25.0
CYCLE_FRAMES = 60  # at 25 fps: 2.4 s
MASK_LEVELS = 14  # grey levels of 255 by which a pixel differs from its reference
MIN_MASK_SHARE = 0.001  # of the picture; smaller differences are called invisible
MIN_VISIBLE_FRAMES = 4  # a fault seen for less is drawn again
NUM_DRAWS = 12  # of a fault before giving up on it

Progress = Callable[[int, int], None]


@dataclass
class Video:
    """A rendered video of F frames."""

    frames: np.ndarray  # uint8 [F, H, W, 3] RGB
    phase: np.ndarray  # float32 [F] in [0, 1)
    cycle: np.ndarray  # int32 [F]
    kind: np.ndarray  # int8 [F]
    masks: np.ndarray  # bool [F, H, W]
    faults: list[faults_lib.Fault]


def draw(
    scene: scene_lib.Scene, script: Script, view: View, size: tuple[int, int], chunk: int
) -> np.ndarray:
    """Pictures of a script without sensor noise, uint8 [F, H, W, 3]."""
    state = State(script.u, script.pieces, script.tool, PALETTES[scene.look])
    parts = DEVICES[scene.device](state).pack()
    textured = scene.look == "real"
    return render(parts, view, size, textured=textured, seed=scene.seed, chunk=chunk)


def differences(
    scene: scene_lib.Scene,
    faulty: Script,
    reference: Script,
    view: View,
    window: tuple[int, int],
    size: tuple[int, int],
    chunk: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Where and how much the frames `window` differ from their reference, without sensor noise.

    Returns:
        masks bool [last - first, H, W], cleared in frames with hardly a pixel, and the largest
        difference of the three channels int16 [last - first, H, W] in grey levels.
    """
    span = slice(*window)
    part = View(*(column[span] for column in view))
    pair = [draw(scene, clip_script(s, span), part, size, chunk) for s in (faulty, reference)]
    levels = np.abs(pair[0].astype(np.int16) - pair[1]).max(-1)
    masks = levels > MASK_LEVELS
    masks[masks.mean((1, 2)) < MIN_MASK_SHARE] = False
    return masks, levels


def clip_script(script: Script, span: slice) -> Script:
    """The frames `span` of a script."""
    tool = script.tool
    tool = faults_lib.Tool(tool.tilt[span], tool.shift[span], tool.tint[span], tool.tint_colour)
    return Script(script.u[span], script.pieces, tool)


def sensor(frames: np.ndarray, look: str, rng: np.random.Generator) -> np.ndarray:
    """Adds the camera's noise (and for `real` its slight blur) to uint8 frames."""
    out = np.empty_like(frames)
    for i, frame in enumerate(frames):
        noise = rng.standard_normal(frame.shape, np.float32) * scene_lib.SENSOR_NOISE[look]
        if look == "real":
            frame = cv2.GaussianBlur(frame, (3, 3), 0.5)
        out[i] = np.clip(np.rint(frame + noise), 0, 255).astype(np.uint8)
    return out


def make_video(
    scene: scene_lib.Scene,
    u: np.ndarray,
    planned: list[tuple[int, str, str]],
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    fps: float = FPS,
    chunk: int = 8,
) -> Video:
    """Renders one video.

    Args:
        u: machine time [F] in cycles.
        planned: (cycle, kind, variant) of the faults. A fault that shows in fewer than
            MIN_VISIBLE_FRAMES frames is drawn again, with another variant of its kind in the end.
        size: (height, width).
    """
    normal = scene_lib.new_script(scene, u, rng)
    view = scene_lib.new_view(scene, len(u), fps, rng)
    script = normal
    kind = np.zeros(len(u), np.int8)
    masks = np.zeros((len(u), *size), bool)
    for cycle, name, variant in planned:
        for attempt in range(NUM_DRAWS):
            if attempt >= NUM_DRAWS // 2:
                variant = str(rng.choice(VARIANTS[name]))
            candidate = faults_lib.apply_fault(script, name, variant, cycle, rng, fps)
            fault = candidate.faults[-1]
            window = (fault.first, fault.last)
            seen, levels = differences(scene, candidate, normal, view, window, size, chunk)
            visible = seen.any((1, 2))
            if visible.sum() >= MIN_VISIBLE_FRAMES:
                script = candidate
                fault.visible_frames = int(visible.sum())
                fault.mask_share = float(seen[visible].mean())
                fault.contrast = float(levels[seen].mean())
                masks[slice(*window)] |= seen
                kind[slice(*window)][visible] = KINDS.index(name)
                break
    frames = sensor(draw(scene, script, view, size, chunk), scene.look, rng)
    cycle = np.floor(script.u)
    # float32 would round the last instant of a cycle up to 1
    phase = np.minimum((script.u - cycle).astype(np.float32), np.nextafter(np.float32(1), 0))
    return Video(frames, phase, cycle.astype(np.int32), kind, masks, script.faults)


def plan_tests(num_test: int, max_cycles: int, rng: np.random.Generator) -> list[dict]:
    """Cycles, start and faults of each test video: every third normal, the kinds in turn."""
    plans, turn = [], 0
    order = {kind: [str(v) for v in rng.permutation(names)] for kind, names in VARIANTS.items()}
    used = dict.fromkeys(VARIANTS, 0)
    for index in range(num_test):
        num_cycles = 1 + index % max_cycles
        start = 0.0 if num_cycles == 1 else float(rng.uniform(0, 1))
        planned = []
        if index % 3 != 2:
            # whole cycles inside the video, two apart so that faults never overlap
            for cycle in range(int(np.ceil(start)), int(start + num_cycles), 2):
                kind = list(VARIANTS)[turn % 4]
                variant = order[kind][used[kind] % len(order[kind])]
                planned.append((cycle, kind, variant))
                turn, used[kind] = turn + 1, used[kind] + 1
        plans.append({"start": start, "num_cycles": num_cycles, "faults": planned})
    return plans


def render_scene(
    out_dir: Path,
    device: str,
    look: str = "synthetic",
    seed: int = 0,
    size: tuple[int, int] = (64, 64),
    num_single: int = 10,
    num_long: int = 6,
    num_test: int = 12,
    *,
    long_cycles: int = 3,
    test_cycles: int = 3,
    cycle_frames: int = CYCLE_FRAMES,
    fps: float = FPS,
    quality: int = 95,
    chunk: int = 8,
    progress: Progress | None = None,
) -> Path:
    """Renders a scene and writes `<out_dir>/<device>_<look>` in one piece or not at all.

    Args:
        size: (width, height) in pixels.
        num_single: training folders of exactly one cycle, as in IPAD.
        num_long: training videos of `long_cycles` cycles that start anywhere in a cycle.
        num_test: test videos of 1 to `test_cycles` cycles; every third is normal throughout.
        cycle_frames: length of a cycle at its usual speed.
        chunk: frames rendered at once (memory); the files do not depend on it.
        progress: called with (frames done, frames in all) after every video.

    Returns:
        The scene's folder. An existing one is replaced.

    Raises:
        ValueError: unknown device or look, or a count that makes no scene.
    """
    scene = scene_lib.new_scene(device, look, seed)
    for name, value, least in (
        ("num_single", num_single, 0),
        ("num_long", num_long, 0),
        ("num_test", num_test, 0),
        ("num_single + num_long + num_test", num_single + num_long + num_test, 1),
        ("long_cycles", long_cycles, 1),
        ("test_cycles", test_cycles, 1),
        ("cycle_frames", cycle_frames, 16),
        ("width", size[0], 8),
        ("height", size[1], 8),
    ):
        if value < least:
            raise ValueError(f"{name}={value} must be at least {least}.")
    plans = [("training", {"start": 0.0, "num_cycles": 1, "faults": []})] * num_single
    starts = scene_lib.generator(seed, device, look, 98).uniform(0, 1, num_long)
    plans += [("training", {"start": s, "num_cycles": long_cycles, "faults": []}) for s in starts]
    tests = plan_tests(num_test, test_cycles, scene_lib.generator(seed, device, look, 97))
    plans += [("testing", plan) for plan in tests]

    jobs, number = [], {"training": 0, "testing": 0}
    for split, plan in plans:
        number[split] += 1
        rng = scene_lib.generator(seed, device, look, len(split), number[split])
        single = plan["num_cycles"] == 1
        spread = scene_lib.SINGLE_SPREAD if single else scene_lib.SPEED_SPREAD
        u = scene_lib.cycle_times(rng, plan["start"], plan["num_cycles"], cycle_frames, spread)
        jobs.append((split, number[split], u, plan["faults"], rng))
    total, done = sum(len(job[2]) for job in jobs), 0

    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    final = out_dir / f"{device}_{look}"
    description = {
        "fps": fps,
        "kinds": list(KINDS),
        "cycle_frames": float(cycle_frames),
        "device": device,
        "look": look,
        "seed": seed,
        "size": list(size),
        "num_single": num_single,
        "num_long": num_long,
        "num_test": num_test,
        "faults": {},
    }
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".rendering_") as temporary:
        root = Path(temporary) / final.name
        for split, index, u, planned, rng in jobs:
            video = make_video(scene, u, planned, (size[1], size[0]), rng, fps=fps, chunk=chunk)
            write_video(root, split, index, video, quality)
            if split == "testing":
                description["faults"][f"{index:02d}"] = [asdict(fault) for fault in video.faults]
            done += len(u)
            if progress:
                progress(done, total)
        (root / "scene.json").write_text(json.dumps(description, indent=1) + "\n")
        if final.exists():
            shutil.rmtree(final)
        root.rename(final)
    return final


def write_video(root: Path, split: str, number: int, video: Video, quality: int) -> None:
    """Writes one video's frames, sidecars and (testing) labels and masks under `root`."""
    name = f"{number:02d}"
    frames = root / split / "frames" / name
    annotations = root / split / "annotations"
    for folder in (frames, annotations):
        folder.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(video.frames):
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        _write_image(frames / f"{i:03d}.jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)
    np.savez(annotations / f"{name}.npz", phase=video.phase, cycle=video.cycle, kind=video.kind)
    if split == "training":
        return
    labels = root / "test_label"
    labels.mkdir(exist_ok=True)
    np.save(labels / f"{number:03d}.npy", (video.kind > 0).astype(np.uint8))
    masks = root / split / "masks" / name
    for i in np.flatnonzero(video.kind):
        masks.mkdir(parents=True, exist_ok=True)
        _write_image(masks / f"{i:03d}.png", video.masks[i].astype(np.uint8) * 255)


def _write_image(path: Path, image: np.ndarray, options: list[int] | None = None) -> None:
    """cv2.imwrite that does not fail in silence."""
    if not cv2.imwrite(str(path), image, options or []):
        raise OSError(f"{path}: the image could not be written; is the disk full?")


def main(argv: list[str]) -> int:
    """`python -m ipad_jax.data_builders.factory.write DIR`: renders a scene."""
    parser = argparse.ArgumentParser(
        prog="python -m ipad_jax.data_builders.factory.write", description=__doc__
    )
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--device", default="conveyor", choices=sorted(DEVICES))
    parser.add_argument("--look", default="synthetic", choices=scene_lib.LOOKS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=64, help="pixels, square")
    parser.add_argument("--num-single", type=int, default=10)
    parser.add_argument("--num-long", type=int, default=6)
    parser.add_argument("--num-test", type=int, default=12)
    parser.add_argument("--cycle-frames", type=int, default=CYCLE_FRAMES)
    options = vars(parser.parse_args(argv))
    size = options.pop("size")

    def progress(done: int, total: int) -> None:
        print(f"\r{done}/{total} frames", end="", file=sys.stderr, flush=True)

    path = render_scene(size=(size, size), progress=progress, **options)
    print(f"\n{path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
