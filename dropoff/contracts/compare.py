"""What a new version of a schema means for those who know the old one.

Two agents that never meet change their contract at different times. So the question is one of sets: does everything
that fits the old schema fit the new one as well?

    compatible      yes, for each demand of the new one is implied by the old one, by a rule of `rules.py`
    incompatible    no: here is a witness, a payload that fits the old one and does not fit the new one
    unknown         no rule says so, and no witness was found; treated as incompatible

Both sure answers are safe by how they are found. A rule concludes only what holds for every value; what no rule knows
is unknown. A witness is only a guess until the gate itself, which judges real payloads, has said yes by the old schema
and no by the new one. So a rule may be missing, and the answer is unknown more often; it is never wrong.

The walk goes down both schemas at once. A schema that contains itself comes back to a pair that is being compared
already; then the answer is that of the outer pair, for the value has become smaller meanwhile (where it has not, the
schema goes in a circle and says nothing).
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, Final, Literal, cast

import msgspec

from dropoff.contracts.drafts import affordable, candidates, draft
from dropoff.contracts.places import Contract, Json, Place
from dropoff.contracts.rules import ROWS, Asked, Difference, Guesses, Row, shown
from dropoff.core import payload

Word = Literal["compatible", "incompatible", "unknown"]

STEPS_MAX: Final = 2_000  # pairs of places that are looked at: a second or two; beyond it the answer is unknown
CHANGES_MAX: Final = 8
GUESSES_MAX: Final = 40  # for each difference


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One place where the new version demands more."""

    path: str
    says: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict. `witness` fits the old version and not the new one."""

    verdict: Word
    changes: tuple[Change, ...] = ()
    more: int = 0  # changes that are not listed
    witness: Json | None = None


def compare(old: Json, new: Json) -> Comparison:
    """Whether all that fits `old` fits `new`. Both have passed the lint."""
    walk = _Walk(Contract(old), Contract(new))
    found = walk.differences(walk.old.root, walk.new.root)
    if not found:
        return Comparison(verdict="compatible")
    changes = list(dict.fromkeys(Change(path=payload.path_of("payload", each.steps), says=each.says) for each in found))
    witness = walk.witness(found)
    return Comparison(
        verdict="unknown" if witness is None else "incompatible",
        changes=tuple(changes[:CHANGES_MAX]),
        more=max(0, len(changes) - CHANGES_MAX),
        witness=witness,
    )


class _Walk:
    """One comparison, on its way down both schemas."""

    def __init__(self, old: Contract, new: Contract) -> None:
        self.old, self.new = old, new
        self._open: dict[tuple[bytes, bytes], int] = {}  # pairs that are being compared, and how deep in the value
        self._steps = 0

    def witness(self, found: list[Difference]) -> Json | None:
        for difference in found:
            for _, value in zip(range(GUESSES_MAX), difference.guesses(), strict=False):
                if not affordable(self.old, value):
                    continue  # it may be made of many guesses
                if self.old.root.fits(value) and not self.new.root.fits(value):
                    return value
        return None

    def differences(self, old: Place, new: Place, deep: int = 0) -> list[Difference]:
        """Where a value of `old` may not be one of `new`."""
        self._steps += 1
        pair = old.key, new.key
        outer = self._open.get(pair)
        if self._steps > STEPS_MAX or outer == deep:
            return [Difference((), "goes too deep to be compared", partial(candidates, old))]
        if outer is not None or old.is_empty:
            return []
        self._open[pair] = deep
        found = self._of_place(old, new, deep)
        del self._open[pair]
        return found

    def _of_place(self, old: Place, new: Place, deep: int) -> list[Difference]:
        if old.finite is not None:
            lost = [value for value in old.finite if not new.fits(value)]
            return [Difference((), f"no longer allows {shown(lost)}", lambda: iter(lost))] if lost else []
        if new.refuses:
            return [Difference((), "is not allowed any more", partial(candidates, old))]
        as_a_whole = self._of_demands(old, new, deep)
        if as_a_whole:
            for pieces in old.alternatives():
                in_pieces = [each for piece in pieces for each in self.differences(piece, new, deep)]
                if not in_pieces:
                    return []
                as_a_whole = in_pieces  # they say more exactly where it is
        return as_a_whole

    def _of_demands(self, old: Place, new: Place, deep: int) -> list[Difference]:
        """What the new schema says here, and the old one does not imply."""
        found: list[Difference] = []
        meanings = [old.contract.meaning_of(part) for part in old.parts]
        for part in new.parts:
            if new.contract.meaning_of(part) in meanings:
                continue
            asked = Asked(old, part, new.contract, partial(self._inside, old, deep))
            for row in ROWS:
                said = {keyword: part[keyword] for keyword in row.keywords if keyword in part}
                if said and old.types & row.types and not _says(old, new.contract.meaning_of(said), row):
                    found += row.rule(asked)
        return found

    def _inside(
        self, around: Place, deep: int, old: Place, new: Place, step: payload.Step | None = None
    ) -> list[Difference]:
        if step is None:
            return self.differences(old, new, deep)
        return [
            Difference((step, *each.steps), each.says, partial(_around, around, step, each.guesses))
            for each in self.differences(old, new, deep + 1)
        ]


def _says(old: Place, meaning: bytes, row: Row) -> bool:
    """In these very words. What `unevaluated…` means lies in its neighbours, so only whole parts may be compared."""
    if row.by_itself:
        for part in old.parts:
            said = {keyword: part[keyword] for keyword in row.keywords if keyword in part}
            if said and old.contract.meaning_of(said) == meaning:
                return True
    return False


def _around(place: Place, step: payload.Step, guesses: Guesses) -> Iterator[Any]:
    """Values of the place, each with one of the guesses where the step leads."""
    for guess in guesses():
        whole: Any = draft(place)
        if isinstance(step, str):
            yield {**(whole if isinstance(whole, dict) else {}), step: guess}
        else:
            items = cast("list[Any]", whole) if isinstance(whole, list) else []
            items = items + [draft(place.item(index)) for index in range(len(items), step + 1)]
            yield [*items[:step], guess, *items[step + 1 :]]
