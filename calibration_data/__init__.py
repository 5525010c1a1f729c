"""Data: the bundled calibration pictures and their manifest."""
