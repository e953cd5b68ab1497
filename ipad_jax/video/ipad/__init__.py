"""IPAD's own model."""
