"""The operators' rows: what the command line needs of a broker, as acts and reads, a file a subject.

Each is one call on `operations` or `inspector`, which ask for the grant; here its answer is given a shape. Acts can be
repeated: what is already so is a success and changes nothing.
"""

from typing import Final

from dropoff.doors.http.operators import agents, doctor, handoffs, ledger, queues, schemas

ROWS: Final = (*queues.ROWS, *schemas.ROWS, *agents.ROWS, *handoffs.ROWS, *ledger.ROWS, *doctor.ROWS)
