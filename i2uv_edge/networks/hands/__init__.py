"""Networks of other authors whose answer is a hand and no map; a module each, found by its name."""
