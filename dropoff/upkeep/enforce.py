"""Finishes changes of authority that were begun: a broker that died between an agent's record and the gate left the
gate behind, and by its word the agent would go on as before. A gate that has lost its words gets them back, too.
"""

from dropoff.core.store import Store


async def enforce(store: Store) -> None:
    """On return the gate knows every record that was written before the call."""
    for agent in await store.changing():
        await store.enforce(agent)
