"""Where handoffs are kept: one Protocol (`core/store.py`), one store, on Redis or Valkey.

`keys.py` names every key, `lua/` holds the steps, `scripts.py` binds their headers, `commit.py` carries them to the
node, `wakes.py` wakes who waits, `embedded.py` keeps a Valkey of our own, and `store.py` puts them together.
"""
