"""From the stream of summaries to finished windows, each entry once."""
