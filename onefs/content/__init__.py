"""Floor 2: bytes on this machine: the cache directory, fetching, verifying."""
