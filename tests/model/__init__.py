"""A plain model of the store: what each verb promises, in memory, without Redis.

It is the specification in Python. It is written from DESIGN.md and `core/store.py`, to be read beside them, and not
from the Lua: `tests/agreement` drives both with the same calls and wants the same answers, the same refusals, the same
records, the same ledger. Here nothing is indexed, packed or made fast: records in a dictionary, an order in a list,
everything else is looked for.

    memory.py    all that is known, the ledger, and `_move`, the only way in which a handoff changes
    gate.py      who passes: what the broker decided upon must be what the gate knows
    leases.py    whose lease it is, what became of it, where a handoff goes whose lease ends
    agents.py    what agents ask
    operators.py what operators ask about a handoff
    clock.py     what the clock starts
    records.py   agents and their gate, queues, schemas
    reading.py   what operators read

What differs, on purpose: ids of ledger entries are their place (`0`, `1`, …), receipts carry no leaf, nobody can wait,
and what the store remembers for a time of its own (a pick_up's request key, who mends) is remembered for ever: what a
test calls an hour is no time for a real server. The clock goes forward only.
"""

from tests.model.agents import Agents
from tests.model.clock import Clockwork
from tests.model.operators import Operators
from tests.model.reading import Reading
from tests.model.records import Records

__all__ = ["Model"]


class Model(Agents, Operators, Clockwork, Records, Reading):
    """Implements `core.store.Store` but for waiting."""
