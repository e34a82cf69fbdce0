"""The trainer: claims a job, runs the engine on it, registers the result."""
