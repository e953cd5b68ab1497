"""Metrics of frame scores, host-side NumPy and scikit-learn; they take arrays and know no model."""
