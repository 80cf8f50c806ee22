"""What a broker runs on, judged: each thing that a first run trips over, in words, and with its fix.

findings.py   what is said: a verdict, a sentence, the fix
checks.py     what is looked at, as functions of facts that were gathered at one moment
stopped.py    what stands still because an operator has said so

It stands on the floor of the broker and the inspector: one more thing to ask, by operators alone. It knows the store by
its Protocol only, and what just the process can see is handed to it as facts.
"""

from collections.abc import Awaitable, Callable, Sequence

from dropoff.core import policy
from dropoff.core.caller import EVERYONE, Caller
from dropoff.core.deciding import unfrozen
from dropoff.core.store import Store
from dropoff.doctor.checks import Facts, judged
from dropoff.doctor.findings import Finding
from dropoff.doctor.stopped import stopped


class Doctor:
    """Looks at what one broker runs on, for operators."""

    def __init__(self, store: Store, look: Callable[[], Awaitable[Facts]], now_ms: Callable[[], int]) -> None:
        self._store = store
        self._look = look
        self.now_ms = now_ms

    async def findings(self, caller: Caller) -> Sequence[Finding]:
        policy.require_admin(await unfrozen(self._store, caller), "see what the broker runs on")
        findings = judged(await self._look())
        everyone = await self._store.principal(EVERYONE, fresh=True)
        queues = (await self._store.queues(fresh=True)).values()
        return [*findings, *stopped(everyone, await self._store.principals(), queues)]
