"""Speed and memory, each as a ratio taken in one run."""
