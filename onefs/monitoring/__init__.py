"""How a mount is doing: its status for people and programs, and its metrics for Prometheus."""
