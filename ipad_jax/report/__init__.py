"""The report: plots, heat maps, side-by-side videos and one self-contained page, from plain arrays."""
