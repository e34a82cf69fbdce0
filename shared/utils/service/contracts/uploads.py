"""The headers of an upload, which may come in parts."""

OFFSET = "Upload-Offset"  # where the part begins, and in an answer: where the next one does
LENGTH = "Upload-Length"  # of the whole
KIND = "Upload-Kind"
CHECKPOINT = "checkpoint"  # the kind that may be removed one day
