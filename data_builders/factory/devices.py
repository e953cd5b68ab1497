"""The machines: where each part is at each moment of a cycle. NumPy only; nothing is drawn here.

A device is a function from a `State` (time in cycles, what is known of each cycle's workpiece, what is
wrong with the tool) to a `Machine` (a list of solids over the frames). Each brings its workpiece out
of one housing and takes it into another, so that pieces neither appear nor vanish in sight.

Units: the machines are about 3 units wide and stand on z = 0; x to the right, y away from the camera.
"""

from collections.abc import Callable

import numpy as np

from ipad_jax.data_builders.factory.machine import Machine, State, turn


def conveyor(state: State) -> Machine:
    """A belt brings a box, a pneumatic pusher shoves it onto a second belt, which takes it away."""
    m, c = Machine(len(state.u)), state.palette
    arrive = state.track((0.0, -1.68), (0.40, 0.15))
    leave = state.track((0.62, 0.0), (0.97, 1.55))
    stroke = state.choose(
        "reordered",
        state.track((0.10, 0.0), (0.26, 0.82), (0.36, 0.0)),
        state.track((0.42, 0.0), (0.60, 0.82), (0.74, 0.0)),
    )
    stroke = state.choose("skipped", 0 * stroke, stroke)
    pushed = state.track((0.455, 0.0), (0.60, 0.76))
    stays = state.pieces.at("skipped", state.cycle) | state.pieces.at("reordered", state.cycle)
    pushed = np.where(stays, 0.0, pushed)
    run = state.cycle * 1.83 + arrive  # way of the first belt
    side_run = state.cycle * 1.55 + leave
    for y, height, way in ((0.25, 0.62, run), (-0.57, 0.58, side_run)):
        stripe = (5.0, -way * 5.0, 0.55)
        m.add("box", (0, y, height - 0.05), (1.7, 0.30, 0.05), c.belt, stripe=stripe, gloss=0.1)
        m.add("box", (0, y - 0.33, height - 0.05), (1.7, 0.03, 0.07), c.body)
    m.add("box", (0, 0.58, 0.57), (1.7, 0.03, 0.07), c.body)
    for x in (-1.25, 1.25):
        m.add("box", (x, -0.16, 0.25), (0.06, 0.62, 0.26), c.body)
    m.add("box", (-1.68, 0.25, 0.88), (0.34, 0.42, 0.42), c.housing, radius=0.05)
    m.add("box", (1.70, -0.57, 0.84), (0.34, 0.42, 0.40), c.housing, radius=0.05)
    m.add("box", (-1.33, 0.25, 0.85), (0.012, 0.28, 0.24), c.dark)
    m.add("box", (1.35, -0.57, 0.81), (0.012, 0.28, 0.24), c.dark)
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
        (0.25, 0.22, 0.21),
        spacing=(-0.58, 0.0, 0.0),
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
    arrive = state.track((0.0, -1.82), (0.25, 0.0))
    leave = state.track((0.55, 0.0), (0.76, 1.90))
    stuck = state.pieces.at("skipped", state.cycle)
    wrong = state.pieces.at("reordered", state.cycle)
    # a lift that is not there: the crate waits on the low table; one that is not raised keeps it
    arrive = np.where(
        wrong, state.track((0.0, -1.82), (0.2, -1.0), (0.62, -1.0), (0.8, 0.0)), arrive
    )
    leave = np.where(stuck | wrong, 0.0, leave)
    x = arrive + leave
    base = np.where(x < -0.6, low, np.where(x > 0.6, high, height))
    for side, reach, top in ((-1, 1.20, low), (1, 1.20, high)):
        roll = state.cycle * (1.82 if side < 0 else 1.90) + (arrive if side < 0 else leave)
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
    m.add("box", (-1.84, 0, 0.66), (0.31, 0.44, 0.42), c.housing, radius=0.05)
    m.add("box", (1.90, 0, 1.40), (0.37, 0.44, 0.40), c.housing, radius=0.05)
    m.add("box", (-1.525, 0, 0.62), (0.012, 0.28, 0.22), c.dark)
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


def drill(state: State) -> Machine:
    """A block slides under a drill press, is clamped, drilled, and slides on with a hole in it."""
    m, c = Machine(len(state.u)), state.palette
    arrive = state.track((0.0, -1.75), (0.24, 0.0))
    leave = state.track((0.72, 0.0), (0.95, 1.75))
    normal = state.track((0.26, 0.0), (0.46, 0.36), (0.54, 0.36), (0.66, 0.0))
    early = state.track((0.02, 0.0), (0.10, 0.36), (0.14, 0.36), (0.22, 0.0))
    down = state.choose("reordered", early, normal)
    down = state.choose("skipped", 0 * normal, down)
    undone = state.choose("skipped", 1.0, state.choose("reordered", 1.0, 0.0 * normal)) > 0
    grip = state.track((0.22, 0.0), (0.28, 1.0), (0.66, 1.0), (0.72, 0.0))
    spin = turn("z", 2 * np.pi * 7.3 * state.u)  # turns with the cycle, never quite the same
    m.add("box", (0, 0.1, 0.20), (0.75, 0.62, 0.20), c.body, radius=0.04)
    run = state.cycle * 1.75 + arrive + leave
    stripe = (6.0, -run * 6.0, 0.5)
    m.add("box", (0, -0.05, 0.45), (1.75, 0.27, 0.05), c.belt, stripe=stripe, gloss=0.1)
    for y in (-0.34, 0.24):
        m.add("box", (0, y, 0.44), (1.75, 0.025, 0.08), c.body)
    for side in (-1, 1):
        m.add("box", (side * 1.35, -0.05, 0.20), (0.07, 0.24, 0.20), c.body)
        m.add("box", (side * 1.78, -0.05, 0.72), (0.31, 0.40, 0.40), c.housing, radius=0.05)
        m.add("box", (side * 1.465, -0.05, 0.68), (0.012, 0.25, 0.20), c.dark)
        m.add("box", (side * (0.42 - 0.17 * grip), -0.05, 0.57), (0.07, 0.20, 0.06), c.trim)
    m.add("cylinder", (0, 0.52, 1.05), (0.11, 0, 0.85), c.steel, gloss=0.8)
    m.add("box", (0, 0.50, 1.78), (0.20, 0.20, 0.20), c.body, radius=0.05)
    z = 1.30 - down
    x = state.tool.shift
    m.add("box", (x, 0.18, z + 0.10), (0.20, 0.36, 0.16), state.tool_colour, radius=0.05)
    m.add("cylinder", (x, 0.05, z + 0.42), (0.13, 0, 0.18), c.dark, radius=0.04)
    tilt = turn("y", state.tool.tilt)
    m.add("cylinder", (x, -0.05, z - 0.12), (0.09, 0, 0.09), c.steel, rotation=tilt, gloss=0.8)
    m.add("box", (x, -0.05, z - 0.12), (0.115, 0.05, 0.05), c.dark, rotation=tilt @ spin)
    lean = np.stack([-np.sin(state.tool.tilt), 0 * x, -np.cos(state.tool.tilt)], -1) * 0.26
    bit = (x + lean[:, 0], -0.05, z - 0.09 + lean[:, 2])
    m.add("cylinder", bit, (0.035, 0, 0.15), c.steel, rotation=tilt, gloss=0.9)
    piece = (arrive + leave, -0.05, 0.50)
    height = m.add_piece(state, piece, (0.25, 0.20, 0.14), spacing=(-0.53, 0.0, 0.0))
    shift = state.pieces.at("shift", state.cycle)
    drilled = (state.phase > 0.47) & ~undone & state.pieces.at("present", state.cycle)
    hole = (piece[0] + shift[:, 0], piece[1] + shift[:, 1], 0.502 + height)
    m.add("cylinder", hole, (0.085, 0, 0.006), c.dark, radius=0.002, shown=drilled, gloss=0.0)
    return m


def arm(state: State) -> Machine:
    """A three-joint robot arm lifts a block off a feed belt and sets it down on a take-off belt."""
    m, c = Machine(len(state.u)), state.palette
    feed, off, belt = (-1.0, -0.55), (1.0, -0.55), 0.40  # x, y of the places, height of the belts
    half = (0.17, 0.17, 0.15)
    arrive = state.track((0.0, -0.78), (0.22, 0.0))
    leave = state.track((0.76, 0.0), (0.96, 0.78))
    angle = state.track(
        (0.02, 0.0), (0.18, 1.0), (0.36, 1.0), (0.58, -1.0), (0.76, -1.0), (0.98, 0.0)
    )
    dip = state.track((0.22, 0.0), (0.30, 1.0), (0.38, 0.0), (0.58, 0.0), (0.66, 1.0), (0.76, 0.0))
    late = state.track(
        (0.02, 0.0), (0.18, -1.0), (0.36, -1.0), (0.58, 1.0), (0.76, 1.0), (0.98, 0.0)
    )
    angle = state.choose("reordered", late, angle)  # it goes to the wrong belt first
    undone = state.choose("skipped", 1.0, state.choose("reordered", 1.0, 0.0 * dip)) > 0
    yaw = np.pi - angle * np.arctan2(1.0, 0.55)  # 0 points away from the camera
    reach = np.hypot(1.0, 0.55) - 0.10 * (1 - np.abs(angle))
    tip = belt + 2 * half[2] + 0.12 + 0.38 * (1 - dip)  # wrist height
    tip = state.choose("skipped", np.maximum(tip, belt + 0.6), tip)
    held = (state.phase > 0.30) & (state.phase < 0.66) & ~undone
    placed = (state.phase >= 0.66) & ~undone
    out = np.stack([-np.sin(yaw), np.cos(yaw)], -1)  # direction of the arm on the floor
    for side, way in ((-1, arrive), (1, leave)):
        stripe = (6.0, -(state.cycle * 0.78 + way) * 6.0, 0.5)
        m.add("box", (side * 1.22, -0.55, belt - 0.05), (0.50, 0.25, 0.05), c.belt, stripe=stripe)
        m.add("box", (side * 1.22, -0.82, belt - 0.05), (0.50, 0.025, 0.08), c.body)
        m.add("box", (side * 1.22, -0.55, belt / 2 - 0.05), (0.10, 0.18, belt / 2 - 0.05), c.body)
        m.add("box", (side * 1.86, -0.55, 0.44), (0.22, 0.36, 0.44), c.housing, radius=0.05)
        m.add("box", (side * 1.635, -0.55, 0.60), (0.012, 0.22, 0.18), c.dark)
    m.add("cylinder", (0, 0, 0.10), (0.42, 0, 0.10), c.dark, radius=0.03)
    m.add("cylinder", (0, 0, 0.40), (0.26, 0, 0.24), state.tool_colour, radius=0.05)
    shoulder = np.array([0.0, 0.0, 0.70])
    wrist = np.stack([out[:, 0] * reach, out[:, 1] * reach, tip + 0.10], -1)
    upper, lower = 0.82, 0.86
    gap = wrist - shoulder
    distance = np.linalg.norm(gap, axis=-1)
    flat = np.arctan2(gap[:, 2], np.hypot(gap[:, 0], gap[:, 1]))
    bend = (upper**2 + distance**2 - lower**2) / (2 * upper * distance)
    rise = flat + np.arccos(np.clip(bend, -1, 1)) + state.tool.tilt * 0.5
    elbow = shoulder + upper * np.stack(
        [np.cos(rise) * out[:, 0], np.cos(rise) * out[:, 1], np.sin(rise)], -1
    )
    heading = np.arctan2(out[:, 1], out[:, 0])
    for a, b, thick in ((shoulder + 0 * elbow, elbow, 0.10), (elbow, wrist, 0.075)):
        middle, along = (a + b) / 2, b - a
        pitch = np.arctan2(along[:, 2], np.hypot(along[:, 0], along[:, 1]))
        rotation = turn("z", heading) @ turn("y", -pitch)
        length = np.linalg.norm(along, axis=-1) / 2
        size = (length + thick * 0.6, thick, thick)
        m.add("box", tuple(middle.T), size, state.tool_colour, radius=0.05, rotation=rotation)
    for joint in (shoulder + 0 * elbow, elbow):
        rotation = turn("z", heading) @ turn("x", np.pi / 2)
        m.add("cylinder", tuple(joint.T), (0.14, 0, 0.15), c.dark, radius=0.03, rotation=rotation)
    upright = turn("z", heading) @ turn("y", state.tool.tilt)
    m.add(
        "cylinder", tuple((wrist - np.array([0, 0, 0.06])).T), (0.06, 0, 0.12), c.steel, gloss=0.8
    )
    wide = np.where(held, 0.175, 0.215)
    m.add(
        "box",
        tuple((wrist - np.array([0, 0, 0.14])).T),
        (0.22, 0.06, 0.025),
        c.dark,
        rotation=upright,
    )
    for side in (-1, 1):
        finger = wrist + np.einsum("fij,fj->fi", upright, _column(side * (wide + 0.02), 0, -0.22))
        m.add("box", tuple(finger.T), (0.02, 0.05, 0.10), c.steel, rotation=upright, gloss=0.7)
    x = np.where(held, wrist[:, 0], np.where(placed, off[0] + leave, feed[0] + arrive))
    y = np.where(held, wrist[:, 1], feed[1])
    z = np.where(held, wrist[:, 2] - 0.22 - 2 * half[2], belt)
    swing = np.where(held, heading - heading_at(feed), 0.0)
    swing = np.where(placed, heading_at(off) - heading_at(feed), swing)
    m.add_piece(state, (x, y, z), half, spacing=(0.02, 0.02, 0.30), rotation=turn("z", swing))
    return m


def heading_at(place: tuple[float, float]) -> float:
    """Direction from the arm's foot to a place on the floor, radians."""
    return float(np.arctan2(place[1], place[0]))


def _column(*values: float | np.ndarray) -> np.ndarray:
    """Numbers and [F] arrays as [F, n]."""
    return np.stack(np.broadcast_arrays(*values), -1)


def crane(state: State) -> Machine:
    """A gantry crane carries a drum from a stand on the left to a cart on the right, which leaves."""
    m, c = Machine(len(state.u)), state.palette
    left, right, table = -0.95, 0.80, 0.30
    arrive = state.track((0.0, -0.95), (0.18, 0.0))
    leave = state.track((0.74, 0.0), (0.93, 1.15))
    home = 0.15
    trolley = state.track(
        (0.0, home), (0.16, left), (0.36, left), (0.56, right), (0.74, right), (0.96, home)
    )
    early = state.track(
        (0.0, home), (0.16, right), (0.36, right), (0.56, left), (0.74, left), (0.96, home)
    )
    trolley = state.choose("reordered", early, trolley)
    drop = state.track((0.16, 0.0), (0.26, 1.0), (0.36, 0.0), (0.56, 0.0), (0.66, 1.0), (0.76, 0.0))
    drop = state.choose("skipped", 0.35 * drop, drop)
    undone = state.choose("skipped", 1.0, state.choose("reordered", 1.0, 0.0 * drop)) > 0
    held = (state.phase > 0.26) & (state.phase < 0.66) & ~undone
    placed = (state.phase >= 0.66) & ~undone
    half = (0.21, 0.21, 0.25)
    hook = table + 2 * half[2] + 0.10 + 0.55 * (1 - drop)
    for x in (-1.45, 1.45):
        for y in (-0.42, 0.42):
            m.add("box", (x, y, 0.90), (0.06, 0.06, 0.90), c.trim)
        m.add("box", (x, 0, 1.80), (0.07, 0.50, 0.07), c.trim)
    for y in (-0.20, 0.20):
        m.add("box", (0, y, 1.90), (1.55, 0.05, 0.07), c.trim, stripe=(0.0, 0.0, 0.0))
    x = trolley + state.tool.shift
    m.add("box", (x, 0, 1.99), (0.22, 0.30, 0.09), c.body, radius=0.03)
    swing = turn("y", state.tool.tilt)
    cable = (2.0 - hook) / 2
    foot = np.einsum("fij,fj->fi", swing, _column(0.0, 0.0, -2 * cable))
    hang = _column(x, 0.0, 2.0) + foot
    rope = tuple((_column(x, 0.0, 2.0) + foot / 2).T)
    m.add("cylinder", rope, (0.022, 0, cable), c.dark, radius=0.005, rotation=swing)
    m.add(
        "box",
        tuple((hang + np.array([0, 0, 0.05])).T),
        (0.17, 0.11, 0.06),
        state.tool_colour,
        rotation=swing,
    )
    jaw = np.where(held, 0.21, 0.27)
    for side in (-1, 1):
        claw = hang + np.einsum("fij,fj->fi", swing, _column(side * (jaw + 0.02), 0.0, -0.10))
        m.add("box", tuple(claw.T), (0.025, 0.07, 0.13), c.steel, rotation=swing, gloss=0.7)
    m.add("box", (left - 0.12, 0, table - 0.06), (0.50, 0.30, 0.06), c.steel, gloss=0.4)
    m.add("box", (left - 0.12, 0, table / 2 - 0.07), (0.40, 0.22, table / 2 - 0.07), c.body)
    m.add("box", (-1.92, 0, 0.55), (0.26, 0.42, 0.55), c.housing, radius=0.05)
    m.add("box", (-1.655, 0, 0.60), (0.012, 0.27, 0.32), c.dark)
    m.add("box", (2.00, 0, 0.55), (0.37, 0.42, 0.55), c.housing, radius=0.05)
    m.add("box", (1.625, 0, 0.50), (0.012, 0.32, 0.42), c.dark)
    cart = right + leave - state.track((0.0, 0.0), (0.02, 0.0))
    cart = np.where(state.phase < 0.30, right + state.track((0.02, 1.15), (0.26, 0.0)), cart)
    m.add("box", (cart, 0, table - 0.05), (0.34, 0.28, 0.05), c.body)
    m.add("box", (cart, 0, 0.14), (0.28, 0.20, 0.09), c.dark, radius=0.05)
    x = np.where(held, hang[:, 0], np.where(placed, right + leave, left + arrive))
    z = np.where(held, hang[:, 2] - 0.10 - 2 * half[2], table)
    m.add_piece(state, (x, 0.0, z), half, solid="cylinder", spacing=(0.0, 0.0, 0.50))
    return m


def turntable(state: State) -> Machine:
    """An indexing table turns a quarter each cycle; a press caps the piece on its second station."""
    m, c = Machine(len(state.u)), state.palette
    quarter = np.pi / 2
    normal = state.track((0.04, 0.0), (0.38, 1.0))
    late = state.track((0.60, 0.0), (0.94, 1.0))
    index = state.choose("reordered", late, normal)
    press = state.track((0.42, 0.0), (0.54, 0.34), (0.60, 0.34), (0.72, 0.0))
    press = state.choose(
        "reordered", state.track((0.04, 0.0), (0.16, 0.34), (0.22, 0.34), (0.34, 0.0)), press
    )
    press = state.choose("skipped", 0 * press, press)
    angle = (state.cycle + index) * quarter
    top = 0.52
    m.add("cylinder", (0, 0, 0.20), (0.55, 0, 0.20), c.body, radius=0.04)
    m.add("cylinder", (0, 0, top - 0.05), (1.05, 0, 0.05), c.steel, radius=0.02, gloss=0.5)
    m.add("cylinder", (0, 0, top + 0.04), (0.16, 0, 0.06), c.dark, radius=0.02)
    turned = turn("z", angle)
    for spoke in (0.25, 0.75):
        rotation = turn("z", angle + spoke * np.pi)
        m.add(
            "box", (0, 0, top + 0.005), (1.0, 0.018, 0.012), c.dark, radius=0.003, rotation=rotation
        )
    # the loading tower at the left, the exit tower at the right
    for side in (-1, 1):
        m.add("box", (side * 0.84, 0.0, 0.90), (0.36, 0.30, 0.37), c.housing, radius=0.05)
        m.add("box", (side * 1.15, 0.0, 0.28), (0.05, 0.22, 0.28), c.body)
    m.add("box", (0.0, 1.25, 0.95), (0.14, 0.14, 0.95), c.body)
    m.add("box", (0.0, 0.28, 1.78), (0.13, 1.15, 0.12), c.body, radius=0.04)
    x = state.tool.shift
    head = 1.24 - press
    tilt = turn("y", state.tool.tilt)
    m.add("cylinder", (x, -0.72, head + 0.36), (0.06, 0, 0.34), c.steel, gloss=0.8)
    m.add(
        "cylinder", (x, -0.72, head), (0.20, 0, 0.09), state.tool_colour, radius=0.03, rotation=tilt
    )
    # A piece is loaded inside the left tower, turns to the front (press), then inside the right one.
    for age in (0, 1):
        cycle = state.cycle - age
        at = (age + index - 1) * quarter  # -quarter: in the tower at the left
        place = (0.72 * np.sin(at), -0.72 * np.cos(at), top)
        spin = turn("z", at)
        m.add_piece(
            state, place, (0.16, 0.16, 0.13), solid="cylinder", cycle=cycle,
            spacing=(0.0, 0.0, 0.27) if age == 0 else None, rotation=spin,
        )  # fmt: skip
        # the press caps the piece that has just come to the front
        skipped = state.pieces.at("skipped", cycle) | state.pieces.at("reordered", cycle)
        capped = ((state.phase > 0.55) | (age > 0)) & ~skipped & state.pieces.at("present", cycle)
        size = 2 * 0.13 * state.pieces.at("scale", cycle)[:, 2]
        shift = state.pieces.at("shift", cycle)
        cap = (place[0] + shift[:, 0], place[1] + shift[:, 1], top + size + 0.025)
        m.add("cylinder", cap, (0.12, 0, 0.03), c.trim, shown=capped)
    # the nests show that the table turns
    nest = angle[:, None] + np.arange(4) * quarter
    for station in range(4):
        where = (0.72 * np.cos(nest[:, station]), 0.72 * np.sin(nest[:, station]), top + 0.004)
        m.add("cylinder", where, (0.20, 0, 0.012), c.dark, radius=0.004, rotation=turned)
    return m


DEVICES: dict[str, Callable[[State], Machine]] = {
    "conveyor": conveyor,
    "lift": lift,
    "drill": drill,
    "arm": arm,
    "crane": crane,
    "turntable": turntable,
}
