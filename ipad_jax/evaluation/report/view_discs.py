"""From where an object is seen, as two small discs: the upper half of all directions, and the lower half.

Areas are kept (Lambert's azimuthal projection); the middle is straight above or below, the rim is level, and
a direction that sinks through the rim of one disc comes out at the same angle of the other.
"""

import numpy as np
from markupsafe import Markup

RADIUS, GAP = 20.0, 2.0  # in units of the drawing
WIDTH, HEIGHT = 4 * RADIUS + 3 * GAP, 2 * RADIUS + 2 * GAP


def disc_places(directions: np.ndarray) -> np.ndarray:
    """Where directions [n, 3] of any length lie in the drawing, z upwards: [n, 2] from its upper left."""
    x, y, z = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).T
    away = RADIUS * np.sqrt(1 - np.abs(z))
    angle = np.arctan2(y, x)
    middle = np.where(z >= 0, GAP + RADIUS, 2 * GAP + 3 * RADIUS)
    return np.stack([middle + away * np.cos(angle), GAP + RADIUS - away * np.sin(angle)], axis=1)


def views_symbol(directions: np.ndarray) -> Markup:
    """A hidden drawing of both discs with a dot for each direction [n, 3], which `discs` shows again."""
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in disc_places(directions))
    circles = "".join(
        f'<circle cx="{x:g}" cy="{GAP + RADIUS:g}" r="{RADIUS:g}"/>'
        for x in (GAP + RADIUS, 2 * GAP + 3 * RADIUS)
    )
    return Markup(
        f'<svg width="0" height="0" style="position:absolute" aria-hidden="true"><g id="views">{circles}'
        f'<path class="dots" d="{dots}"/></g></svg>'
    )


def discs(direction: np.ndarray, is_sure: bool) -> Markup:
    """The discs of `views_symbol` with a mark at a direction [3], in another colour where it is doubtful."""
    ((x, y),) = disc_places(direction[None])
    height = np.degrees(np.arcsin(direction[2] / np.linalg.norm(direction)))
    words = f"seen from {abs(height):.0f} degrees {'above' if height >= 0 else 'below'}"
    kind = "place" if is_sure else "place doubtful"
    return Markup(
        f'<svg class="discs" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{words}">'
        f'<title>{words}</title><use href="#views"/>'
        f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/></svg>'
    )
