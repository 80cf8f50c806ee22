"""A lease: the right of one proven holder to work on one handoff.

Its id is `<handoff id>.<fence>` and is no secret. The authority is *proven caller = holder, and fence = current*: who
reads a lease id in a log has gained nothing. The fence rises with every lease of a handoff, and starts from the store's
clock in ms, so it rises even where the store comes back older than it was. A target outside can take the fence and
refuse lower ones; that is the only way to exactly-once out there.
"""

from typing import Final, NewType

import msgspec

from dropoff.core.handoff import HandoffId, QueueName, base32, from_base32, queue_of

FENCE_CHARS_MAX: Final = 13  # 65 bits; a fence has 41. Reading a number takes the square of its digits

LeaseId = NewType("LeaseId", str)


class Lease(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which handoff, and which lease of it."""

    handoff_id: HandoffId
    fence: int

    @property
    def id(self) -> LeaseId:
        return LeaseId(f"{self.handoff_id}.{base32(self.fence)}")

    @property
    def queue(self) -> QueueName:
        queue = queue_of(self.handoff_id)
        assert queue is not None
        return queue


def parse(lease_id: str) -> Lease | None:
    """The lease that an id names, or None if it is no lease id."""
    handoff_id, _, fence = lease_id.rpartition(".")
    if not 0 < len(fence) <= FENCE_CHARS_MAX or queue_of(handoff_id) is None:
        return None
    try:
        return Lease(HandoffId(handoff_id), from_base32(fence))
    except ValueError:
        return None
