"""Quantization: ranges from calibration, a fake-quant network, and its encodings."""
