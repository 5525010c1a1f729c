"""Torch modules, one file a network; each is built from its TOML in ``export/networks/``.

A network takes pictures (N, 3, S, S) and returns maps (N, 3, M, M). Two forms share one
``state_dict``: the training form, and the deploy form (`layers.deploy`) whose operators convert
without a transpose.
"""
