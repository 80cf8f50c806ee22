"""The contracts between agents that never meet: JSON Schema, judged once, then the gate for every payload.

`schema.py` is what a contract is, `lint.py` which schema may be one, `gate.py` whether a payload fits, `teach.py` how
to say what does not. Pure, like the core.
"""
