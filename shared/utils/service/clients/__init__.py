"""The services as their callers see them: typed calls, answered by the library's own values."""
