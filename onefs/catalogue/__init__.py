"""Floor 1: what exists in the archive, as cache tables tell it."""
