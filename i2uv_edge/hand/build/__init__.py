"""Builds ``hand/assets/hand.npz``: an articulated right hand made from scratch, with its UV atlas.

``python -m i2uv_edge.hand.build -o hand.npz`` needs packages that nothing else in this project does
(libigl, pyacvd, pyvista, scikit-image); whoever only uses the asset never imports this package.
"""
