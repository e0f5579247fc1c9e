"""A source opened without a mount, its catalogue, cache and fetches: for the daemon, the Python face and `onefs`."""
