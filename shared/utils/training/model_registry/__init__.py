"""Versions of models: their metrics, tags, lineage and audit."""
