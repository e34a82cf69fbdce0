"""What two services say to each other, each thing once.

Requests are pydantic models that refuse what they don't know. Answers are the library's own frozen
dataclasses (a job, a model, a run), so that a client gets back what the store gave out.
"""
