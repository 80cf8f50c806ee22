"""What operators may do.

agents.py      who may call: grants, freezes, revocation
schemas.py     contracts: registered, and what another version of one means
effects.py     what it means for the handoffs that wait
queues.py      where handoffs wait
handoffs.py    single handoffs: judged, released; and all there is: mended
acting.py      how an act is done
"""

from dropoff.operations.agents import OPERATOR, Agents, MadeAgent
from dropoff.operations.handoffs import Handoffs
from dropoff.operations.queues import NewQueue, Queues
from dropoff.operations.schemas import Meaning

__all__ = ["OPERATOR", "MadeAgent", "Meaning", "NewQueue", "Operations"]


class Operations(Agents, Queues, Handoffs):
    """Acts on the store in an operator's name."""
