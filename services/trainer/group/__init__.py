"""Several nodes that do one job: one claims it and leads, the others follow for its attempt."""
