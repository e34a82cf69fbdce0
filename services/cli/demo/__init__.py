"""The closed loop on real scans: train, serve, drift, retrain, recover, with no hand in it."""
