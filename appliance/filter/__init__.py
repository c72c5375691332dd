"""Service 1: the milter daemon that judges every message at end-of-data."""
