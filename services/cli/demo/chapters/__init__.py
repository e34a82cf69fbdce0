"""What happens, in order; each chapter waits for the platform and notes what it saw."""
