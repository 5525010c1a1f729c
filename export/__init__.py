"""Data: networks, models and targets as TOML. The code is in `i2uv_edge`."""
