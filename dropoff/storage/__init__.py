"""Where handoffs are kept: one Protocol (`core/store.py`), one store, on Redis or Valkey.

`store.py` is that store, and says of which parts it is made. Below them: `steps.py` runs a step, `lua/` holds the
steps, `scripts.py` binds their headers, `keys.py` names every key, `replies.py` reads what comes back, `commit.py`
carries it all to the node, on the lanes of `lane.py`, whose connections `link.py` keeps, `wakes.py` wakes who waits.
`connection.py` knows where the store is, `examining.py` whether it may be trusted.

`embedded.py` keeps a Valkey of our own: `server.py` is its process, `folder.py` where it lives, `lock.py` what decides
over its life, `restarts.py` when it is tried again, `room.py` whether its disk takes new work.
"""
