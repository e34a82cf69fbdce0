"""Follows the registry: brings each name's production version up, and lets the one before go."""
