"""Finishes changes of authority that were begun: a broker that died between an agent's record and the gate left the
gate behind, and by its word the agent would go on as before. A gate that has lost its words gets them back, too.
"""

from dropoff.core.caller import Principal
from dropoff.core.store import Store
from dropoff.upkeep.each import each


async def enforce(store: Store) -> list[Principal]:
    """On return the gate knows every record that was written before the call, but those that the log names."""
    return await each(store.enforce, await store.changing())
