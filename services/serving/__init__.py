"""Serving: answers with the production version of every model, and follows the registry."""
