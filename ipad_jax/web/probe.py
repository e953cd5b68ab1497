"""Looks into an uploaded file, in a process of its own: `python -m ipad_jax.web.probe FILE`."""

import sys
import warnings

UNREADABLE, TOO_LARGE, TOO_LONG = 10, 11, 12  # exit status
MOST_PIXELS = 100_000_000
MOST_SECONDS = 4 * 3600.0
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")


def verdict(path: str) -> int:
    """0, or what is wrong with a file. Nothing but a header or a first frame is decoded."""
    try:
        if path.lower().endswith(IMAGES):
            from PIL import Image

            warnings.simplefilter("ignore")  # about many pixels, which are counted here
            with Image.open(path, formats=FORMATS) as image:
                return TOO_LARGE if image.width * image.height > MOST_PIXELS else 0
        import av

        with av.open(path) as container:
            stream = container.streams.video[0]
            if stream.width * stream.height > MOST_PIXELS:
                return TOO_LARGE
            if (container.duration or 0) / av.time_base > MOST_SECONDS:
                return TOO_LONG
            next(container.decode(stream))
            return 0
    except Exception as error:
        return TOO_LARGE if "DecompressionBomb" in type(error).__name__ else UNREADABLE


if __name__ == "__main__":
    sys.exit(verdict(sys.argv[1]))
