"""The gate: does this payload fit this schema? It decides; `teach` only says why not.

One library gives the verdict and the reasons: `jsonschema-rs`, 2020-12 whatever `$schema` says, compiled once for each
schema hash. Nothing is fetched. Patterns run in the engine that is linear in the text; it knows no look-around and no
back-references, and its character classes are Unicode's: a "digit" is one of any script.

`format` is a note to the reader, as 2020-12 has it by default: libraries differ on what an e-mail address is, and a
contract must mean the same to both sides. Where it matters, write a `pattern`.

A verdict is cheap whatever the payload, an explanation is not (`cost.py`). A payload that is too dear to
explain is told less: its first problem, or only that it does not fit. It is refused all the same.
"""

from functools import lru_cache
from typing import Any, Final

from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from dropoff.contracts import teach
from dropoff.contracts.cost import COPIES_MAX, Cost
from dropoff.contracts.schema import Schema
from dropoff.contracts.teach import Taught
from dropoff.core import payload
from dropoff.core.payload import Refusal
from dropoff.core.rejections import Fault
from dropoff.errors import Problem

# One holds 25 kB, half a megabyte where 500 fields are declared, and 4.2 MB where patterns are as large as the lint
# admits: 6 MB, 120 MB, or 1.1 GB, were all of them so.
GATES_KEPT: Final = 256
PATTERN_BYTES_MAX: Final = 1 << 20  # of the compiled pattern: `(a{1000}){1000}` is 15 characters and 50 MB
PATTERN_BYTES_LEAST: Final = 1 << 12


class Gates:
    """The compiled gates, by schema hash; the one used longest ago goes first."""

    def __init__(self, kept: int = GATES_KEPT) -> None:
        self._kept = kept
        self._gates: dict[str, Gate] = {}

    def require(self, schema: Schema, value: object, *, refusal: Refusal, root: str = "payload") -> None:
        """Return only if this value, already within the bounds of `core/payload.py`, fits; else `refusal`, with every
        problem. A tool's own arguments pass by here too: root "", and a Schema made of what the tool advertises.
        """
        problems = self.of(schema).judge(value, root)
        if problems:
            raise refusal(problems=problems)

    def of(self, schema: Schema) -> "Gate":
        gate = self._gates.pop(schema.hash, None) or Gate(schema)
        self._gates[schema.hash] = gate  # a dict keeps the order of insertion: the newest stands last
        if len(self._gates) > self._kept:
            del self._gates[next(iter(self._gates))]
        return gate

    def __len__(self) -> int:
        return len(self._gates)


class Gate:
    """One compiled schema."""

    def __init__(self, schema: Schema) -> None:
        self._content = schema.as_object()
        self._validator = compile_schema(self._content)
        self._cost = Cost(self._content)

    def fits(self, value: object) -> bool:
        """The verdict alone."""
        return self._validator.is_valid(value)

    def judge(self, value: object, root: str = "payload") -> tuple[Problem, ...]:
        """Nothing if it fits; else at least one problem, whatever the explanation finds."""
        return self.verdict(value, root).problems

    def verdict(self, value: object, root: str = "payload") -> Taught:
        """The same, with what of it may be kept."""
        if self.fits(value):
            return FITS
        explained = self._cost.copies(value) <= COPIES_MAX
        errors = list(self._validator.iter_errors(value)) if explained else self._first(value)
        problems, faults = teach.taught(errors, self._content, root)
        if not explained:
            problems = (*problems, *_say(root, _TOO_DEAR))
        return Taught(problems or _say(root, _NO_FIT), faults or UNEXPLAINED)

    def _first(self, value: object) -> list[ValidationError]:
        if self._cost.has_alternatives:
            return []  # for even the first error of an `anyOf` holds all errors of all its branches
        try:
            self._validator.validate(value)
        except ValidationError as error:
            return [error]
        return []


FITS: Final = Taught()
UNEXPLAINED: Final = frozenset({Fault("other")})
_NO_FIT: Final = "does not fit the schema"
_TOO_DEAR: Final = "does not fit the schema, and has too many parts to name every reason; send less at once"


def _say(root: str, problem: str) -> tuple[Problem, ...]:
    return (Problem(path=payload.path_of(root, ()), problem=problem),)


@lru_cache(maxsize=GATES_KEPT)
def example(schema: Schema) -> dict[str, Any] | None:
    """The first of the schema's own examples that fits it: the lint takes any, and who is shown one copies it."""
    content = schema.as_object()
    fits = compile_schema(content).is_valid
    return next((each for each in content.get("examples", ()) if fits(each)), None)


# ---- compiling ----------------------------------------------------------------------------------------------------


class CannotCompileError(Exception):
    """The validator does not take this schema."""

    def __init__(self, error: ValidationError) -> None:
        super().__init__(error.message)
        self.steps = tuple(error.instance_path)
        self.problem = payload.clipped(error.message)


def compile_schema(content: dict[str, Any] | bool, pattern_bytes_max: int = PATTERN_BYTES_MAX) -> Draft202012Validator:
    try:
        return Draft202012Validator(
            content,
            retriever=_fetch_nothing,
            pattern_options=RegexOptions(size_limit=pattern_bytes_max, dfa_size_limit=PATTERN_BYTES_MAX),
            validate_formats=False,
        )
    except ValidationError as error:
        raise CannotCompileError(error) from None


@lru_cache(maxsize=1_000)
def pattern_bytes(pattern: str) -> int | None:
    """How large it is once compiled, at most: a power of two. None if it is not linear, or beyond the bound."""
    bytes_max = PATTERN_BYTES_LEAST
    while bytes_max <= PATTERN_BYTES_MAX:
        try:
            compile_schema({"pattern": pattern}, bytes_max)
        except CannotCompileError:
            bytes_max *= 2
        else:
            return bytes_max
    return None


def _fetch_nothing(uri: str, /) -> None:
    raise LookupError("nothing is fetched")
