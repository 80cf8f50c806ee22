"""The broker as one process of its machine: its data folder, its port, its signals, what the doctor sees of it.

It has a floor of its own between `settings` and `wiring`: none of this is composition, and what `workers` and the
command line need of it they take without the rest of the house. Nothing in here knows what a broker is made of;
`wiring` puts that behind the port, and `workers` does so several times.
"""
