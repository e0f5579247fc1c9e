"""Floor 1: how bytes of a location reach this machine."""
