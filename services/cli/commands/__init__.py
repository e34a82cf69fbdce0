"""What ``trainctl`` can be told; each module has the commands of one thing."""
