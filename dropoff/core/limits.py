"""A limit on everything, in one place, each with its arithmetic. Units stand last in the name."""

from typing import Final

PAYLOAD_BYTES_MAX: Final = 262_144  # a long document as text; more belongs into a bucket, and a reference here
PAYLOAD_DEPTH_MAX: Final = 64
PAYLOAD_VALUES_MAX: Final = 50_000  # bounds a validator's work, whatever the schema says
INTEGER_MAX: Final = 2**53 - 1  # above it, JSON readers in other languages disagree

NOTE_CHARS_MAX: Final = 500
PURPOSE_CHARS_MAX: Final = 500  # of a queue: read by every model that is shown the queue
REASON_CHARS_MAX: Final = 500
PROGRESS_CHARS_MAX: Final = 200
REQUEST_KEY_CHARS_MAX: Final = 200

LEASE_MS_DEFAULT: Final = 300_000
# An outage is only seen from OUTAGE_MS on: 3 s may pass in which nobody could extend, and the lease runs on. It must
# outlast them, and leave its holder time for a call before and for one after, with a second each: 3 + 1 + 1.
LEASE_MS_MIN: Final = 5_000
LEASE_MS_MAX: Final = 86_400_000  # also how long one lease can be kept alive by extending it
ATTEMPTS_MAX_DEFAULT: Final = 5
RETENTION_MS_DEFAULT: Final = 30 * 86_400_000  # what ended is kept this long, for its sender to ask and for people
RETENTION_MS_MIN: Final = 60_000
EXPIRES_MS_MAX: Final = 365 * 86_400_000
DELIVERIES_PER_ATTEMPT: Final = 10  # ends a handoff that is only ever released: see lifecycle, release → dead
WAITING_MAX_DEFAULT: Final = 1_000_000
DELAY_MS_MAX: Final = 30 * 86_400_000

RETRY_MS_BASE: Final = 5_000  # 5 s · 2^(failures − 1)
RETRY_MS_MAX: Final = 300_000

WAIT_S_DEFAULT: Final = 3
WAIT_S_MAX: Final = 30
PICKER_SEEN_MS: Final = 300_000  # an agent that asked for work within this time is counted as a picker
PICKER_NOTED_MS: Final = 10_000  # its asking is written down at most this often: an empty queue must not fill the disk
PICKER_KEPT_MS: Final = 3_600_000
MINUTE_KEPT_MS: Final = 7_200_000  # the counters of one minute: a little longer than the hour that is shown
ATTEMPTS_KEPT: Final = 3  # previous attempts shown to the next holder

PICKED_LATELY_MS: Final = 3_600_000  # who picked up within this time is told to whoever changes a queue's contract
PICKS_READ: Final = 200  # and for that the newest of what is leased, what died and what ended otherwise: 600 records

PASSED_OVER: Final = 100  # expired handoffs that one pick_up looks past; upkeep ends them within a second or two

OVERDUE_AT_ONCE: Final = 200  # what upkeep does in one go: about 2 ms of the store's time
OVERDUE_GOES: Final = 20  # and this often in one round, so that a million expired handoffs do not take hours

BEAT_MS: Final = 800  # upkeep beats once a second; of several brokers one is enough
OUTAGE_MS: Final = 3_000  # three beats missed by every broker: nobody could have extended a lease

# Of a queue's rejections. 16 kB of schema hold a few hundred places, most of which nobody gets wrong; 3 × 200 fields of
# 100 bytes are 60 kB at most.
REJECTED_PLACES_MAX: Final = 200  # of one version of a schema; what is wrong elsewhere is counted together
REJECTED_SCHEMAS_KEPT: Final = 3  # versions, those in which something was wrong last
REJECTED_PLACE_CHARS_MAX: Final = 200  # of a place's pointer; what is further inside counts for what is around it

BATCH_CALLS_MAX: Final = 100  # calls that one request to /v1/batch may hold
PICKED_AT_ONCE_MAX: Final = 100

QUEUE_SETTINGS: Final = {  # the least and the most, by the names that operators give them
    "lease_seconds": (LEASE_MS_MIN // 1_000, LEASE_MS_MAX // 1_000),
    "max_attempts": (1, 1_000),
    "max_bytes": (1, PAYLOAD_BYTES_MAX),
    "max_waiting": (1, WAITING_MAX_DEFAULT),
    "expires_seconds": (0, EXPIRES_MS_MAX // 1_000),
    "retention_seconds": (RETENTION_MS_MIN // 1_000, EXPIRES_MS_MAX // 1_000),
}

OBEYED_BY_STEPS: Final = {
    "attempts_kept": ATTEMPTS_KEPT,
    "beat_ms": BEAT_MS,
    "deliveries_per_attempt": DELIVERIES_PER_ATTEMPT,
    "lease_ms": LEASE_MS_DEFAULT,
    "lease_ms_max": LEASE_MS_MAX,
    "minute_kept_ms": MINUTE_KEPT_MS,
    "outage_ms": OUTAGE_MS,
    "passed_over": PASSED_OVER,
    "picker_kept_ms": PICKER_KEPT_MS,
    "picker_noted_ms": PICKER_NOTED_MS,
    "picker_seen_ms": PICKER_SEEN_MS,
    "rejected_places": REJECTED_PLACES_MAX,
    "rejected_schemas": REJECTED_SCHEMAS_KEPT,
    "retention_ms": RETENTION_MS_DEFAULT,
    "retry_ms_base": RETRY_MS_BASE,
    "retry_ms_max": RETRY_MS_MAX,
}


def as_lua() -> str:
    """What steps obey, printed at the head of each."""
    return "local LIMITS = { " + ", ".join(f"{name} = {limit}" for name, limit in OBEYED_BY_STEPS.items()) + " }"
