"""A run judged on its test split."""
