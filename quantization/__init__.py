"""Data: quantization recipes and accuracy gates as TOML. The code is in `i2uv_edge`."""
