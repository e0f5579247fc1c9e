"""Alyx, the database that knows sessions and datasets, over REST."""
