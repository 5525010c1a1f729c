"""Accuracy against ground truth, on data sets of any size, on any number of processes."""
