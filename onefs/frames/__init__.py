"""Cache tables as pandas frames: read, edited in place, merged, saved, and asked as a catalogue."""
