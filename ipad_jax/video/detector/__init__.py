"""A trained run as a detector: predictions, calibration, a stream of frames."""
