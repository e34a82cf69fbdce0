"""What the scheduler does by itself; any number of replicas may do it at once."""
