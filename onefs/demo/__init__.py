"""Floor 4: a small made-up archive, and a server that answers as a real one does."""
