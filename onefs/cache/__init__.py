"""The cache directory: where files stand, what is known of them, and how much room they take."""
