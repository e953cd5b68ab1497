"""The one training loop and what it needs: state, optimiser, devices, checkpoints, logs."""
