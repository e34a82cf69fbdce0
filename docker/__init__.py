"""Images of the platform, and what builds and tests them."""
