"""A camera that gives what it is told, at times of its own."""

import time
from dataclasses import dataclass

from ipad_jax.input.camera import Camera, Gap, Shot

FPS = 10.0
START_S = time.monotonic()


@dataclass
class Played(Camera):
    """A camera that gives what it is told, at times of its own: frames, gaps, seconds to skip."""

    plays: tuple = ()

    def events(self):
        now_s, offset_s = START_S, time.time() - time.monotonic()
        for item in self.plays:
            if isinstance(item, str):
                self.gap = item
                yield Gap(item, now_s)
            elif isinstance(item, float):
                now_s += item
                yield None
            else:
                self.gap = ""
                yield Shot(item, now_s, now_s + offset_s)
                now_s += 1 / (self.fps or FPS)


def played(*plays, fps: float | None = FPS) -> Played:
    return Played("0", "0", "camera-0", fps, plays=plays)
