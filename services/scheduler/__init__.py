"""The scheduler: jobs, claims, schedules and triggers over HTTP, and the loops that move them."""
