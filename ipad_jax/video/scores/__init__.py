"""From predictions of clips to a score a frame."""
