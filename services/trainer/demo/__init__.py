"""The engine on real data, from raw scans or prose to a model that runs by itself."""
