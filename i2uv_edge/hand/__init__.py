"""What a UV position map means: atlas, articulated hand, renderer and metrics."""
