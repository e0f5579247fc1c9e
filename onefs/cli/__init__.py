"""Floor 6: one file per verb: parse, call, print, exit."""
