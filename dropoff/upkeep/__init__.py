"""What the clock starts: leases that ran out, work whose time has come.

Any broker does it, several at once: each act is a step of the store that looks again before it does anything.
"""
