"""Frames in, clips out: prepared datasets, video files, cameras. Never imports jax."""
