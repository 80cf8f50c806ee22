"""The same verbs as plain JSON under `/v1`, for workers and other languages, and what operators do and read.

`routes.py` is the whole of it as a table: the app serves its rows, `openapi.py` prints them. A row is filled in by
`agents.py`, `batch.py` or `operators/`; `calls.py` makes a call of a request, `problems.py` a response of a refusal.
"""
