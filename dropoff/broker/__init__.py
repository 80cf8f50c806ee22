"""What callers may ask: each verb in a few sentences.

sending.py     what senders ask: drop off, look, withdraw, put back
picking.py     who picks up: what there is for it, and what becomes of it if nobody is there to hear
holding.py     what holders ask: complete, hand back, extend
describing.py  what the queues demand that an agent may use
repeats.py     what was heard before is answered as it was then
judging.py     what callers bring, held against what the queue's contract says
rejections.py  what was wrong with it, counted for operators
asking.py      what all of them are built on

The order is the same everywhere: may this caller do this here; is what it brings what the queue's contract says; then
one step of the store, which is all or nothing. What happens when a record was old is written in `core/deciding.py`.
"""

from dropoff.broker.describing import Describing, Description
from dropoff.broker.holding import Holding
from dropoff.broker.picking import Found, NothingToPickUp, Picking
from dropoff.broker.sending import Sending

__all__ = ["Broker", "Description", "Found", "NothingToPickUp"]


class Broker(Sending, Picking, Holding, Describing):
    """Answers callers. What it remembers no other broker needs, so any number of them may serve one store."""

    def start(self) -> None:
        """Write now and then what was rejected. Without it nothing of that is kept, and nothing else differs."""
        self._rejections.start()

    async def close(self) -> None:
        """End what goes on beside the calls; what was rejected is written."""
        await super().close()
        await self._rejections.close()
