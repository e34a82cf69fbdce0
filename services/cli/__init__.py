"""The platform from a terminal: ``trainctl``."""
