"""Images of parts and surfaces: methods, detector, evaluation."""
