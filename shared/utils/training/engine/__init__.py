"""The training engine: each part stands alone, and the Trainer joins them."""
