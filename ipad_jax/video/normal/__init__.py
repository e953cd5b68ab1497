"""What a run remembers of normal footage."""
