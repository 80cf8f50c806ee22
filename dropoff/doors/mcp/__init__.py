"""The agents' door: MCP over streamable HTTP.

`door.py` knows who is calling and keeps the SDK's server; `tools.py` is what a caller's model sees; `results.py` is how
it hears an answer or a refusal.
"""
