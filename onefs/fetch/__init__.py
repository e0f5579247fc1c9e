"""Fetches datasets: from a server's bytes to a verified file in the cache, and to whoever reads it."""
