"""Figures of this project as ratios against peers, measured in one run."""
