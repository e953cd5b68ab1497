"""From files on disk to a prepared dataset."""
