"""A detector whose model says how bright a frame is, and footage with a fault it can see."""

import math
import os

import cv2
import numpy as np
from ml_collections import ConfigDict

from ipad_jax.run.config import save_config
from ipad_jax.video.detector.detector import Detector, Footage
from ipad_jax.video.normal.stored import Normal

SIZE = (16, 24)  # height, width
CYCLE = 40.0  # frames
FAR_ABOVE = 3.0  # threshold that the drawn noise stays under and the drawn fault exceeds


class FakePredictor:
    """Says of each frame how bright it is; every clip is judged by itself, as by a real model."""

    unscored = 0

    def __init__(self, normal=None):
        self.normal = normal or Normal()
        self.calls = []

    def scores(self, clip):
        self.calls.append(clip.shape)
        values = clip.astype(np.float32) / 255
        brightness = values.mean(axis=(2, 3, 4))
        return {
            "mse": 0.01 + 0.1 * brightness**2,
            "pooled": values.max(axis=(2, 3, 4)),
            "phase": brightness[:, 0] % 1,
        }

    def phases(self, clip):
        return {"phase": self.scores(clip)["phase"]}

    def both(self, clip):
        error = clip.astype(np.float32).mean(axis=-1) / 255
        return self.scores(clip) | {"reconstruction": 255 - clip, "error": error}


def make_config(stride=1, **data):
    data = {
        "clip_len": 8,
        "size": SIZE,
        "quality": 95,
        "builder": "video_folder",
        "variant": "",
    } | data
    evaluation = {"stride": stride, "window": 5, "spacing": 0, "pool_px": 3, "batch_size": 4}
    evaluation |= {"nearest_px": 0, "motion_px": 0, "renew_minutes": 0.0}
    return ConfigDict({"data": data, "eval": evaluation})


def make_detector(stride=1, cycle_frames=CYCLE, **arguments):
    footage = Footage(fps=10.0, cycle_frames=cycle_frames)
    return Detector(FakePredictor(), make_config(stride), footage, **arguments)


def frames(count, seed=0, size=SIZE):
    """Noise that brightens and darkens."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        level = 60 + 50 * math.sin(i / 7)
        yield np.clip(rng.normal(level, 10, (*size, 3)), 0, 255).astype(np.uint8)


def write_avi(path, pictures, fps=10.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = list(pictures)
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (width, height))
    for picture in pictures:
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def faulty(count=40, start=20, stop=28, size=SIZE):
    """Frames with a bright corner, lower right, for a while."""
    for i, frame in enumerate(frames(count, size=size)):
        if start <= i < stop:
            frame[-size[0] // 4 :, -size[1] // 4 :] = 255
        yield frame


def write_frames(folder, pictures):
    folder.mkdir(parents=True)
    for i, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{i}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return folder


def interrupted(source, number, after):
    """The source, with a signal to this process before frame `after` is seen."""

    class Interrupted(type(source)):
        def __iter__(self):
            for i, pair in enumerate(super().__iter__()):
                if i == after:
                    os.kill(os.getpid(), number)
                yield pair

    return Interrupted(**vars(source))


def save_line(folder):
    """The config of a run that needs no dataset, in a folder of its own: it wishes for 60 alarms an hour."""
    config = make_config(stride=2)
    config.data.name = "line"
    config.eval.update(
        {
            "components": {"pooled_mean": 1.0, "psnr_mean": 0.5},
            "false_alarms_per_hour": 60.0,
            "sustained_s": 1.0,
            "track_phase": False,
            "register": False,
            "features": "",
        }
    )
    config.task = "video.ipad"
    save_config(folder, config)
    return config
