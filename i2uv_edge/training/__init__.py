"""Training the networks: losses, the loop, and what a run is made of (TOML)."""
