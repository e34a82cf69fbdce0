"""The registry: models and their gate, runs and their metrics, artifacts."""
