"""Windows of predictions: filled, judged against the reference, kept."""
