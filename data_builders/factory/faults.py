"""What goes wrong, and when: the paper's four kinds of fault as changes of a video's script.

A `Script` says for every frame where the machine stands in its cycle, for every cycle what its
workpiece is like, and what is wrong with the tool. A fault changes one of the three, so a frame's own
reference (the same frame without the fault) is the same script unchanged. Strengths are drawn from
the ranges of the tables below, which the difficulty table in README.md repeats.

Kinds: IPAD paper, section 3 (appearance, position, short-term motion, logic).
"""

import copy
from dataclasses import dataclass, field

import numpy as np

from ipad_jax.data_builders.factory.machine import Pieces, Tool

KINDS = ("normal", "appearance", "position", "motion", "logic")

# Strength ranges (low, high); the sign is drawn where `signed`. Units in the name.
SHADE = (0.55, 0.85)  # how far the piece's colour goes to another hue, 0..1
RESIZE = (0.25, 0.40)  # share by which a piece is too tall or too flat
SHIFT = (0.14, 0.24)  # units; a piece is about 0.4 wide
YAW = (0.35, 0.60)  # radians, 20 to 34 degrees; a piece is square, so 45 degrees is the most
LEAN = (0.20, 0.36)  # radians, 11 to 21 degrees
TOOL_TILT = (0.24, 0.42)  # radians
TOOL_SECONDS = (0.6, 1.4)
MOTION_SECONDS = (0.3, 0.8)  # of the disturbed speed; catching up takes about as long again
# name: (speed while disturbed, speed while catching up), in normal speeds
SPEEDS = {"freeze": (0.0, 2.0), "slow": (0.35, 1.65), "fast": (1.8, 0.2)}

VARIANTS = {
    "appearance": ("colour", "size", "stain", "tool_colour"),
    "position": ("shift", "yaw", "lean", "tool_tilt"),
    "motion": tuple(SPEEDS),
    "logic": ("missing", "extra", "skipped", "reordered"),
}


@dataclass
class Fault:
    """One fault; [first, last) are the frames it can show in."""

    kind: str
    variant: str
    first: int
    last: int
    strength: float = 0.0
    visible_frames: int = 0  # frames in which it shows
    mask_share: float = 0.0  # of the picture, mean over those frames
    contrast: float = 0.0  # grey levels of 255 inside the mask, mean over those frames


@dataclass
class Script:
    """Everything that moves in a video of F frames."""

    u: np.ndarray  # [F] float64, cycles gone
    pieces: Pieces
    tool: Tool
    faults: list[Fault] = field(default_factory=list)


def new_pieces(rng: np.random.Generator, first: int, last: int, colours: np.ndarray) -> Pieces:
    """Normal pieces for cycles first..last, with their small normal variation."""
    n = last - first + 1
    kind = rng.integers(0, len(colours), n)
    shade = rng.uniform(0.92, 1.08, (n, 1))
    return Pieces(
        first_cycle=first,
        colour=colours[kind] * shade,
        scale=rng.uniform(0.96, 1.04, (n, 3)),
        roundness=rng.uniform(0.0, 0.1, n),
        shift=rng.uniform(-0.02, 0.02, (n, 2)),
        yaw=rng.uniform(-0.07, 0.07, n),
        lean=np.zeros(n),
        present=np.ones(n, bool),
        marked=np.zeros(n, bool),
        extra=np.zeros(n, bool),
        skipped=np.zeros(n, bool),
        reordered=np.zeros(n, bool),
        kind=kind,
    )


def new_tool(num_frames: int) -> Tool:
    """A tool with nothing wrong."""
    return Tool(np.zeros(num_frames), np.zeros(num_frames), np.zeros(num_frames), np.ones(3))


def disturbed_time(u: np.ndarray, first: int, seconds: float, fps: float, name: str) -> np.ndarray:
    """Machine time with the speed disturbed from frame `first` on, back in step afterwards.

    The machine catches up (or waits) instead of going on late, so that after the fault every frame
    is again what it should be and needs no label. The speed is a multiple of the normal one.
    """
    disturbed, back = SPEEDS[name]
    num_frames = max(round(seconds * fps), 2)
    steps = np.diff(u, append=2 * u[-1] - u[-2])
    delay = 0.0
    out = u.copy()
    for frame in range(first, len(u)):
        out[frame] = u[frame] + delay
        if frame < first + num_frames:
            delay += (disturbed - 1.0) * steps[frame]
        else:
            change = (back - 1.0) * steps[frame]
            delay = 0.0 if abs(change) >= abs(delay) else delay + change
    return out


def _signed(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    """A strength from `bounds` with a drawn sign."""
    return float(rng.uniform(*bounds) * rng.choice((-1.0, 1.0)))


def _ramp(num_frames: int, first: int, last: int, edge: int = 3) -> np.ndarray:
    """0 outside [first, last), 1 inside, `edge` frames to get there and back."""
    frame = np.arange(num_frames)
    rise = np.minimum(frame - first + 1, last - frame) / edge
    return np.clip(rise, 0.0, 1.0)


def apply_fault(
    script: Script, kind: str, variant: str, cycle: int, rng: np.random.Generator, fps: float
) -> Script:
    """A copy of `script` with one more fault in `cycle`.

    Raises:
        ValueError: unknown kind or variant.
    """
    if variant not in VARIANTS.get(kind, ()):
        raise ValueError(f"kind={kind!r}, variant={variant!r}: expected one of {VARIANTS}.")
    script = copy.deepcopy(script)
    frames = np.flatnonzero(np.floor(script.u) == cycle)
    first, last = int(frames[0]), int(frames[-1]) + 1
    row = cycle - script.pieces.first_cycle
    pieces, tool, num_frames = script.pieces, script.tool, len(script.u)
    strength = 1.0
    if variant == "colour":
        strength = float(rng.uniform(*SHADE))
        other = (
            pieces.colour[row][[1, 2, 0]] if rng.random() < 0.5 else pieces.colour[row][[2, 0, 1]]
        )
        pieces.colour[row] = pieces.colour[row] * (1 - strength) + other * strength
    elif variant == "size":
        strength = _signed(rng, RESIZE)
        pieces.scale[row] *= (1 - 0.6 * strength, 1 - 0.6 * strength, 1 + strength)
        pieces.roundness[row] = 0.5
    elif variant == "stain":
        pieces.marked[row] = True
    elif variant == "shift":
        strength = _signed(rng, SHIFT)
        pieces.shift[row] += (0.5 * strength, strength)
    elif variant == "yaw":
        strength = _signed(rng, YAW)
        pieces.yaw[row] += strength
    elif variant == "lean":
        strength = _signed(rng, LEAN)
        pieces.lean[row] += strength
    elif variant in ("tool_colour", "tool_tilt"):
        length = min(round(rng.uniform(*TOOL_SECONDS) * fps), last - first)
        first = int(rng.integers(first, last - length + 1))
        last = first + length
        ramp = _ramp(num_frames, first, last)
        if variant == "tool_tilt":
            strength = _signed(rng, TOOL_TILT)
            tool.tilt = tool.tilt + ramp * strength
        else:
            strength = float(rng.uniform(*SHADE))
            tool.tint = np.maximum(tool.tint, ramp * strength)
            tool.tint_colour = rng.permutation([0.05, 0.3, 0.7])
    elif kind == "motion":
        strength = float(rng.uniform(*MOTION_SECONDS))
        first = int(rng.integers(first, max(last - round(1.2 * strength * fps), first + 1)))
        script.u = disturbed_time(script.u, first, strength, fps, variant)
        last = min(first + round(4 * strength * fps), num_frames)
    else:
        column = {"missing": pieces.present}.get(variant, getattr(pieces, variant, None))
        column[row] = variant != "missing"
    script.faults.append(Fault(kind, variant, first, last, strength))
    return script
