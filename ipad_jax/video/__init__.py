"""The IPAD video detector."""
