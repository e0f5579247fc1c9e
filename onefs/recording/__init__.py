"""What was read, and by whom: the recorder, the processes that read, the manifest, and saving it."""
