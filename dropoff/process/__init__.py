"""The broker as one process of its machine.

data_folder.py   its data folder, and the operator's credential in it
serving_here.py  which process serves that folder
listening.py     its port
server.py        its HTTP server, and the signals that stop it
facts.py         what the doctor sees of it

It has a floor of its own between `settings` and `wiring`: none of this is composition, and what `workers` and the
command line need of it they take without the rest of the house. Nothing in here knows what a broker is made of;
`wiring` puts that behind the port, and `workers` does so several times.
"""
