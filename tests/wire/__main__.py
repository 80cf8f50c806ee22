"""`python -m tests.wire --write` writes `schemas/wire/` anew."""

import sys

from tests import wire


def main() -> None:
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: {wire.COMMAND}")
    wire.FOLDER.mkdir(exist_ok=True)
    for name, content in wire.files().items():
        (wire.FOLDER / name).write_text(content, encoding="utf-8")
        print(f"wrote schemas/wire/{name}")


if __name__ == "__main__":
    main()
