"""The command line: words to stderr, data to stdout, an exit code that scripts can depend on.

It decides nothing. `up` and `demo` run a broker; every other command asks one by HTTP, as any other client would, and
prints what it hears. Heavy imports stand inside the commands: `dropoff --help` and the shell's completion come at once.
"""

from dropoff.cli.root import cli


def main() -> None:
    cli.main(prog_name="dropoff")
