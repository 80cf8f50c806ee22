"""What dropoff means: the life of a handoff, its lease, who may do what, and how much of it.

Pure: no Redis, no files, no clock, no randomness. Schemas and grants are values here; the one conversation with the
world is the Protocol in `store.py`.
"""
