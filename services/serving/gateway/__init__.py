"""What clients speak to: the Open Inference Protocol v2 over REST, and a plain form of it."""
