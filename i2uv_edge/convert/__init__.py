"""Conversion: float and fake-quant networks to files other runtimes execute."""
