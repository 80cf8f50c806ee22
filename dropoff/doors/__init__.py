"""How the broker is reached: doors translate, and decide nothing.

`verbs.py` is what agents may call, once for every door; `answers.py` is what they hear. `mcp/` speaks MCP, `http/`
plain JSON. A door knows how its protocol says who is calling and what went wrong; everything else is the broker's.
"""
