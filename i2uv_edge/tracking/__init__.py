"""Watching a hand in pictures, videos and cameras with what a bundle holds."""
