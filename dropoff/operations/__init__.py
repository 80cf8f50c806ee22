"""What operators may do.

agents.py      who may call: grants, freezes, revocation
moving.py      what another version of a schema means, before a queue has it
queues.py      where handoffs wait, and the schemas that are their contracts
handoffs.py    single handoffs: judged, released; and all there is: mended
acting.py      how an act is done
"""

from dropoff.operations.agents import OPERATOR, Agents, MadeAgent
from dropoff.operations.handoffs import Handoffs
from dropoff.operations.moving import Meaning
from dropoff.operations.queues import NewQueue, Queues

__all__ = ["OPERATOR", "MadeAgent", "Meaning", "NewQueue", "Operations"]


class Operations(Agents, Queues, Handoffs):
    """Acts on the store in an operator's name."""
