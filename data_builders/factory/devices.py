"""The machines: where each part is at each moment of a cycle. NumPy only; nothing is drawn here.

A device is a function from a `State` (time in cycles, what is known of each cycle's workpiece, what is
wrong with the tool) to a `Machine` (a list of solids over the frames). Time `u` counts cycles: its
whole part is the cycle's number, its fraction the phase. A workpiece belongs to the cycle that brings
it in; normal variation and workpiece faults are both entries of the table `Pieces`, so that the frame
without the fault is the same call with the untouched table.

Units: the machines are about 3 units wide and stand on z = 0; x to the right, y away from the camera.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from data_builders.factory.render import Form, Parts

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
    forms: list[Form] = field(default_factory=list)
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
        turned = rotation is not None
        rotation = np.eye(3) if rotation is None else rotation
        self.forms.append(Form(solid, turned))
        self.rows.append(
            (
                where,
                np.broadcast_to(rotation, (self.num_frames, 3, 3)),
                column(half),
                column([radius])[:, 0],
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
            (size[:, 0] * 0.45, size[:, 1] * 0.09, size[:, 2] * 0.5),
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

    def pack(self) -> tuple[Parts, tuple[Form, ...]]:
        """Arrays for the renderer, with the box that holds what is visible."""
        columns = (np.stack(column, 1).astype(np.float32) for column in zip(*self.rows))
        centre, rotation, half, radius, colour, stripe, gloss = columns
        flat = half.copy()
        for index, form in enumerate(self.forms):
            if form.solid == "cylinder":
                flat[:, index, 1] = half[:, index, 0]
        reach = np.einsum("fnij,fnj->fni", np.abs(rotation), flat)
        visible = (centre[..., 2] > HIDDEN_Z / 2)[..., None]
        low = np.where(visible, centre - reach, np.inf).min(1)
        high = np.where(visible, centre + reach, -np.inf).max(1)
        parts = Parts(centre, rotation, half, radius, colour, stripe, gloss, low, high)
        return parts, tuple(self.forms)


def conveyor(state: State) -> Machine:
    """A belt brings a box, a pneumatic pusher shoves it onto a second belt, which takes it away."""
    m, c = Machine(len(state.u)), state.palette
    arrive = state.track((0.0, -1.62), (0.40, 0.15))
    leave = state.track((0.62, 0.0), (0.97, 1.75))
    stroke = state.choose(
        "reordered",
        state.track((0.10, 0.0), (0.26, 0.82), (0.36, 0.0)),
        state.track((0.42, 0.0), (0.60, 0.82), (0.74, 0.0)),
    )
    stroke = state.choose("skipped", 0 * stroke, stroke)
    pushed = state.track((0.455, 0.0), (0.60, 0.76))
    stays = state.pieces.at("skipped", state.cycle) | state.pieces.at("reordered", state.cycle)
    pushed, leave = np.where(stays, 0.0, pushed), leave
    run = state.cycle * 1.8 + arrive  # way of the first belt
    side_run = state.cycle * 1.8 + leave
    for y, height, way in ((0.25, 0.62, run), (-0.57, 0.58, side_run)):
        stripe = (5.0, -way * 5.0, 0.55)
        m.add("box", (0, y, height - 0.05), (1.7, 0.30, 0.05), c.belt, stripe=stripe, gloss=0.1)
        m.add("box", (0, y - 0.33, height - 0.05), (1.7, 0.03, 0.07), c.body)
    m.add("box", (0, 0.58, 0.57), (1.7, 0.03, 0.07), c.body)
    for x in (-1.25, 1.25):
        m.add("box", (x, -0.16, 0.25), (0.06, 0.62, 0.26), c.body)
    m.add("box", (-1.62, 0.25, 0.86), (0.28, 0.42, 0.40), c.housing, radius=0.05)
    m.add("box", (1.64, -0.57, 0.82), (0.28, 0.42, 0.38), c.housing, radius=0.05)
    m.add("box", (-1.33, 0.25, 0.80), (0.012, 0.26, 0.20), c.dark)
    m.add("box", (1.35, -0.57, 0.77), (0.012, 0.26, 0.20), c.dark)
    x = 0.15 + state.tool.shift
    m.add("box", (0.15, 1.18, 0.80), (0.16, 0.34, 0.13), c.trim, radius=0.04)
    m.add("box", (0.15, 1.18, 0.33), (0.08, 0.10, 0.34), c.body)
    m.add(
        "box", (x, 0.86 - stroke / 2, 0.80), (0.035, 0.10 + stroke / 2, 0.035), c.steel, gloss=0.8
    )
    tilt = turn("z", state.tool.tilt)
    m.add("box", (x, 0.62 - stroke, 0.80), (0.24, 0.035, 0.14), state.tool_colour, rotation=tilt)
    m.add_piece(
        state,
        (arrive + leave, 0.25 - pushed, 0.62 - 0.04 * pushed / 0.82),
        (0.19, 0.17, 0.16),
        spacing=(-0.46, 0.0, 0.0),
    )
    return m


def lift(state: State) -> Machine:
    """A scissor lift takes a crate from a low roller table up to a high one."""
    m, c = Machine(len(state.u)), state.palette
    low, high = 0.42, 1.18
    raise_, lower = (0.28, low), (0.84, low)
    height = state.track(raise_, (0.54, high), (0.66, high), lower)
    early = state.track((0.05, low), (0.22, high), (0.40, high), (0.60, low))
    height = state.choose("reordered", early, height)
    height = state.choose("skipped", np.full_like(height, low), height)
    arrive = state.track((0.0, -1.75), (0.25, 0.0))
    leave = state.track((0.55, 0.0), (0.72, 1.75))
    stuck = state.pieces.at("skipped", state.cycle)
    wrong = state.pieces.at("reordered", state.cycle)
    # a lift that is not there: the crate waits on the low table; one that is not raised keeps it
    arrive = np.where(
        wrong, state.track((0.0, -1.75), (0.2, -1.0), (0.62, -1.0), (0.8, 0.0)), arrive
    )
    leave = np.where(stuck | wrong, 0.0, leave)
    x = arrive + leave
    base = np.where(x < -0.6, low, np.where(x > 0.6, high, height))
    for side, reach, top in ((-1, 1.20, low), (1, 1.20, high)):
        roll = state.cycle * 1.75 + (arrive if side < 0 else leave)
        m.add(
            "box",
            (side * reach, 0, top - 0.05),
            (0.55, 0.36, 0.05),
            c.steel,
            stripe=(7.0, -roll * 7.0, 0.6),
            gloss=0.5,
        )
        for y in (-0.38, 0.38):
            m.add("box", (side * reach, y, top - 0.04), (0.56, 0.03, 0.07), c.body)
        m.add("box", (side * 1.2, 0, top / 2 - 0.06), (0.08, 0.30, top / 2 - 0.06), c.body)
    m.add("box", (-1.72, 0, 0.66), (0.22, 0.44, 0.42), c.housing, radius=0.05)
    m.add("box", (1.74, 0, 1.40), (0.22, 0.44, 0.40), c.housing, radius=0.05)
    m.add("box", (-1.49, 0, 0.62), (0.012, 0.28, 0.22), c.dark)
    m.add("box", (0, 0, 0.06), (0.58, 0.40, 0.06), c.dark)
    span = height - 0.08 - 0.12
    angle = np.arcsin(np.clip(span / 1.12, -1, 1))
    for y in (-0.33, 0.33):
        for sign in (-1, 1):
            m.add(
                "box",
                (state.tool.shift, y + sign * 0.025, 0.10 + span / 2 + 0.02),
                (0.56, 0.022, 0.04),
                c.trim,
                rotation=turn("y", sign * angle),
            )
    tilt = turn("y", state.tool.tilt)
    m.add(
        "box",
        (state.tool.shift, 0, height - 0.05),
        (0.58, 0.40, 0.05),
        state.tool_colour,
        rotation=tilt,
    )
    m.add_piece(state, (x, 0, base), (0.27, 0.24, 0.20), spacing=(0.06, 0.04, 0.40))
    return m


DEVICES: dict[str, Callable[[State], Machine]] = {"conveyor": conveyor, "lift": lift}
