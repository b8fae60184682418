"""Named data sets: one file for each, or for each family that shares a format."""
