"""Floor 5: the only place that builds things and wires them together."""
