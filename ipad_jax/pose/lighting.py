"""Light and exposure unlike the training views': of the whole photo by its background, of the object.

Both are one factor a colour channel, in closed form. Moved lamps are more than that: see `shading`.
"""

import numpy as np

from ipad_jax.data_builders.object_folder.silhouettes import border_of
from ipad_jax.pose.pictures import Picture

FACTORS = (0.5, 2.0)  # beyond, it is another background or another object
DARK = 0.08  # colour from 0 to 1 below which a ratio says nothing
DARK_BACKGROUND = 64  # levels of 255, likewise


def with_background(image: np.ndarray, background: np.ndarray, levels: float) -> np.ndarray:
    """A photo uint8 [h, w, 3] as if exposed so that its border has the training views' background.

    Left as it is where the border has that colour within `levels`, is dark, or needs more than `FACTORS`.
    """
    border = np.median(border_of(image), axis=0)
    if np.abs(border - background).max() <= levels:
        return image
    if min(border.min(), background.min()) < DARK_BACKGROUND:
        return image
    factor = background / border
    if not (factor.min() >= FACTORS[0] and factor.max() <= FACTORS[1]):
        return image
    return np.clip(np.rint(image * factor), 0, 255).astype(np.uint8)


def object_gain(query: np.ndarray, picture: Picture) -> np.ndarray:
    """How much brighter the object is than rendered, a channel: float32 [3]; medians, so a defect has no say.

    Args: query float32 [h, w, 3] in [0, 1].
    """
    found = np.ones(3, np.float32)
    for channel in range(3):
        rendered = picture.rgb[..., channel]
        solid = (picture.opacity > 0.9) & (rendered > DARK)
        if solid.any():
            found[channel] = np.median(query[..., channel][solid] / rendered[solid])
    return np.clip(found, *FACTORS)


def without_gain(query: np.ndarray, picture: Picture, usual_gain: np.ndarray) -> np.ndarray:
    """A query with its object as bright as rendered, where that differs more than in any training view.

    In the channels in which it does: where an object is dark in one, its gain is the field's own error.

    Args:
      query: float32 [h, w, 3] in [0, 1].
      usual_gain: [3], the largest absolute logarithm of training views' gains.
    """
    gain = object_gain(query, picture)
    unusual = np.abs(np.log(gain)) > usual_gain
    if not unusual.any():
        return query
    share = picture.opacity[..., None]
    factor = np.where(unusual, 1 / gain, 1)
    return np.clip(query * (1 - share + share * factor), 0, 1).astype(np.float32)
