"""What senders are told: every kind of problem, whole, as it was reviewed."""

from jsonschema_rs import ValidationErrorKind as Kind

from dropoff.contracts.gate import compile_schema
from tests.contracts.lessons import COMMAND, FILE, HEAD, PAYLOADS, written

# No schema that is registered can bring these: other drafts, formats and content, which are notes, Python's own
# keywords, and what the linear engine of patterns, the closed registry and bounds before the gate leave nothing of.
NEVER = {
    "AdditionalItems", "Format", "ContentEncoding", "ContentMediaType", "FromUtf8", "Custom",
    "BacktrackLimitExceeded", "RegexEngineFailure", "Referencing",
}  # fmt: skip


def test_what_senders_are_told_is_as_it_was_reviewed():
    """Entry by entry, so that a difference is shown with its case."""
    there = FILE.read_text(encoding="utf-8").split("\n\n")
    now = written().split("\n\n")
    assert there[0] == HEAD
    for before, after in zip(there, now, strict=False):
        assert after.strip() == before.strip(), f"if that is right: {COMMAND}"
    assert len(there) == len(now)


def test_every_kind_of_error_that_the_validator_has_is_among_the_cases():
    """A newer validator's new kind fails here, before a model is told only its keyword."""
    kinds = {name for name in vars(Kind) if name[0].isupper()}
    seen: set[str] = set()
    for wrong in PAYLOADS.values():
        errors = compile_schema(wrong.schema).iter_errors(wrong.value)
        seen |= {type(error.kind).__name__.removeprefix("ValidationErrorKind_") for error in errors}
    assert seen == kinds - NEVER
