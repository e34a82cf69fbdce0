"""Watches what is served: drift and errors by window, alerts, and the way back."""
