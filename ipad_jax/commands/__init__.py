"""One file a command of `ipad-jax`: parses, calls, prints."""
