"""What a machine is to the renderer: solids over frames, built from the state of a video.

Time `u` counts cycles: its whole part is the cycle's number, its fraction the phase. A workpiece
belongs to the cycle that brings it in; normal variation and workpiece faults are both entries of the
table `Pieces`, so that the frame without the fault is the same call with the untouched table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ipad_jax.data_builders.factory.render import Parts

Number = float | np.ndarray
HIDDEN_Z = -50.0  # parts that are not there are put far below the floor


@dataclass
class Pieces:
    """One row a cycle; row 0 belongs to cycle `first_cycle`."""

    first_cycle: int
    colour: np.ndarray  # [C, 3] linear
    scale: np.ndarray  # [C, 3] of the usual half sizes
    roundness: np.ndarray  # [C] 0 = sharp edges, 1 = as round as its size allows
    shift: np.ndarray  # [C, 2] x, y in units
    yaw: np.ndarray  # [C] radians about the vertical
    lean: np.ndarray  # [C] radians about the piece's own x axis: it stands on a chip
    present: np.ndarray  # [C] bool
    marked: np.ndarray  # [C] bool, a stain on it
    extra: np.ndarray  # [C] bool, a second piece where one belongs
    skipped: np.ndarray  # [C] bool, the machine leaves its work undone
    reordered: np.ndarray  # [C] bool, the machine works in the wrong order
    kind: np.ndarray  # [C] int, which of two sorts (sorter only)

    def at(self, name: str, cycle: np.ndarray) -> np.ndarray:
        """Column `name` for each frame's cycle number [F]."""
        return getattr(self, name)[cycle - self.first_cycle]


@dataclass
class Tool:
    """What is wrong with the machine's tool, by frame; zeros are normal."""

    tilt: np.ndarray  # [F] radians
    shift: np.ndarray  # [F] units, sideways
    tint: np.ndarray  # [F] 0..1, how far its colour has gone to `tint_colour`
    tint_colour: np.ndarray  # [3]


@dataclass(frozen=True)
class Palette:
    """Linear RGB of a look."""

    body: tuple[float, float, float]
    trim: tuple[float, float, float]
    steel: tuple[float, float, float]
    dark: tuple[float, float, float]
    belt: tuple[float, float, float]
    housing: tuple[float, float, float]
    tool: tuple[float, float, float]


PALETTES = {
    "synthetic": Palette(
        body=(0.05, 0.22, 0.33),
        trim=(0.85, 0.40, 0.05),
        steel=(0.50, 0.53, 0.56),
        dark=(0.07, 0.075, 0.09),
        belt=(0.10, 0.11, 0.12),
        housing=(0.62, 0.64, 0.66),
        tool=(0.80, 0.16, 0.06),
    ),
    "real": Palette(
        body=(0.20, 0.24, 0.17),
        trim=(0.52, 0.38, 0.06),
        steel=(0.33, 0.33, 0.32),
        dark=(0.06, 0.06, 0.06),
        belt=(0.08, 0.10, 0.08),
        housing=(0.36, 0.37, 0.34),
        tool=(0.16, 0.22, 0.36),
    ),
}


@dataclass
class State:
    """Everything a device needs to know about F frames."""

    u: np.ndarray  # [F] float64, cycles
    pieces: Pieces
    tool: Tool
    palette: Palette

    @property
    def cycle(self) -> np.ndarray:
        """Whole cycles gone, int [F]."""
        return np.floor(self.u).astype(int)

    @property
    def phase(self) -> np.ndarray:
        """[F] in [0, 1)."""
        return self.u - np.floor(self.u)

    def track(self, *keys: tuple[float, float]) -> np.ndarray:
        """Value at each frame's phase: through (phase, value) keys, at rest at each key."""
        return ease(self.phase, keys)

    def choose(self, name: str, fault: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """`fault` in the frames of cycles whose column `name` is set, else `normal`."""
        return np.where(self.pieces.at(name, self.cycle), fault, normal)

    @property
    def tool_colour(self) -> np.ndarray:
        """[F, 3]."""
        tint = self.tool.tint[:, None]
        return np.asarray(self.palette.tool) * (1 - tint) + self.tool.tint_colour * tint


def ease(at: np.ndarray, keys: Sequence[tuple[float, float]]) -> np.ndarray:
    """Smoothstep interpolation through (position, value) keys; constant outside them."""
    positions, values = (np.asarray(column, float) for column in zip(*keys))
    segment = np.clip(np.searchsorted(positions, at, side="right") - 1, 0, len(keys) - 2)
    width = np.maximum(positions[segment + 1] - positions[segment], 1e-9)
    x = np.clip((at - positions[segment]) / width, 0.0, 1.0)
    return values[segment] + (values[segment + 1] - values[segment]) * x * x * (3 - 2 * x)


def turn(axis: str, angle: Number) -> np.ndarray:
    """Rotation matrices [F, 3, 3] (or [3, 3]) by `angle` radians about an axis."""
    c, s = np.cos(angle), np.sin(angle)
    zero, one = np.zeros_like(c), np.ones_like(c)
    rows = {
        "x": ((one, zero, zero), (zero, c, -s), (zero, s, c)),
        "y": ((c, zero, s), (zero, one, zero), (-s, zero, c)),
        "z": ((c, -s, zero), (s, c, zero), (zero, zero, one)),
    }[axis]
    return np.stack([np.stack(row, -1) for row in rows], -2)


@dataclass
class Machine:
    """Collects solids over F frames and packs them for the renderer."""

    num_frames: int
    rows: list[tuple[np.ndarray, ...]] = field(default_factory=list)

    def add(
        self,
        solid: str,
        centre: Sequence[Number],
        half: Sequence[Number],
        colour: Sequence[Number] | np.ndarray,
        *,
        radius: Number = 0.02,
        rotation: np.ndarray | None = None,
        stripe: Sequence[Number] = (0.0, 0.0, 0.0),
        gloss: Number = 0.25,
        shown: np.ndarray | bool = True,
    ) -> None:
        """Add one solid; every number may be an array over the frames."""

        def column(values: Sequence[Number] | np.ndarray) -> np.ndarray:
            if isinstance(values, np.ndarray):
                return np.broadcast_to(values, (self.num_frames, values.shape[-1])).astype(float)
            return np.stack([np.broadcast_to(v, self.num_frames) for v in values], -1).astype(float)

        where = column(centre)
        where[~np.broadcast_to(np.asarray(shown, bool), self.num_frames), 2] = HIDDEN_Z
        rotation = np.eye(3) if rotation is None else rotation
        cylinder = {"box": False, "cylinder": True}[solid]
        self.rows.append(
            (
                where,
                np.broadcast_to(rotation, (self.num_frames, 3, 3)),
                column(half),
                column([radius])[:, 0],
                np.full(self.num_frames, cylinder),
                column(colour),
                column(stripe),
                column([gloss])[:, 0],
            )
        )

    def add_piece(
        self,
        state: State,
        position: Sequence[Number],
        half: Sequence[float],
        *,
        solid: str = "box",
        cycle: np.ndarray | None = None,
        spacing: Sequence[float] | None = (-0.5, 0.0, 0.0),
        rotation: np.ndarray | None = None,
        shown: np.ndarray | bool = True,
    ) -> np.ndarray:
        """Add the workpiece of `cycle`, its stain, and (at `spacing` from it) the extra piece.

        Args:
            position: x, y and the height of what it stands on.
            half: usual half sizes, before the piece's own scale.
            rotation: how the machine holds it, before the piece's own yaw.

        Returns:
            Height of the piece's top over what it stands on, [F].
        """
        cycle = state.cycle if cycle is None else cycle
        pieces = state.pieces
        size = np.asarray(half) * pieces.at("scale", cycle)
        if solid == "cylinder":
            size[:, 1] = size[:, 0]
        shift, colour = pieces.at("shift", cycle), pieces.at("colour", cycle)
        lean = pieces.at("lean", cycle)
        own = turn("z", pieces.at("yaw", cycle)) @ turn("x", lean)
        rotation = own if rotation is None else rotation @ own
        lift = np.abs(np.sin(lean)) * size[:, 1]  # a leaning piece stands on its lower edge
        x, y = position[0] + shift[:, 0], position[1] + shift[:, 1]
        z = position[2] + size[:, 2] + lift
        shown = np.broadcast_to(shown, self.num_frames) & pieces.at("present", cycle)
        radius = 0.02 + pieces.at("roundness", cycle) * (size.min(-1) - 0.021)
        self.add(
            solid, (x, y, z), size, colour, radius=radius, rotation=rotation, shown=shown, gloss=0.2
        )
        stain = np.stack([size[:, 0] * 0.2, -size[:, 1] * 0.96, size[:, 2] * 0.1], -1)
        stain = np.stack([x, y, z], -1) + np.einsum("fij,fj->fi", rotation, stain)
        self.add(
            "box",
            stain,
            (size[:, 0] * 0.62, size[:, 1] * 0.09, size[:, 2] * 0.7),
            np.asarray([0.02, 0.015, 0.01]),
            radius=0.005,
            rotation=rotation,
            shown=shown & pieces.at("marked", cycle),
        )
        if spacing is not None:
            self.add(
                solid,
                (x + spacing[0], y + spacing[1], position[2] + size[:, 2] + spacing[2]),
                size,
                colour * 0.92,
                shown=shown & pieces.at("extra", cycle),
                gloss=0.2,
            )
        return 2 * size[:, 2]

    def pack(self) -> Parts:
        """Arrays for the renderer, with the box that holds what is visible.

        The number of parts is filled up to a multiple of 8 with hidden ones, so that most devices
        share one compiled renderer.
        """
        while len(self.rows) % 8:
            self.add("box", (0, 0, 0), (0.01, 0.01, 0.01), (0, 0, 0), shown=False)
        columns = [np.stack(column, 1) for column in zip(*self.rows)]
        centre, rotation, half, _, is_cylinder = columns[:5]
        width = np.where(is_cylinder, half[..., 0], half[..., 1])
        flat = np.stack([half[..., 0], width, half[..., 2]], -1)
        reach = np.einsum("fnij,fnj->fni", np.abs(rotation), flat)
        visible = (centre[..., 2] > HIDDEN_Z / 2)[..., None]
        columns.append(np.where(visible, centre - reach, np.inf).min(1))
        columns.append(np.where(visible, centre + reach, -np.inf).max(1))
        return Parts(*(c if c.dtype == bool else c.astype(np.float32) for c in columns))
