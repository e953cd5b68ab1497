"""The report: plots, heat maps, videos and one self-contained page, from plain arrays."""
