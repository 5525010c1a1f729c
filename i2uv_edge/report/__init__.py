"""Scores and what a bundle holds become one page, `report.html`, that needs nothing beside it."""
