"""What may be wrong with a platform, looked for from outside."""
