"""A wire between client and broker that a test can cut: forwards bytes, and loses answers when told to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Wire:
    """Listens at `url`; what comes goes to the broker."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.lose_answers = 0  # how many of the next answers are lost, connection and all
        self.requests: list[bytes] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there = await asyncio.open_connection("127.0.0.1", self._port)
        back = asyncio.create_task(self._answers(there_reader, writer))
        self._tasks.add(back)
        try:
            while asked := await reader.read(65_536):
                self.requests.append(asked)
                there.write(asked)
                await there.drain()
        except ConnectionError:
            pass
        finally:
            there.close()
            writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while answer := await reader.read(65_536):
                if self.lose_answers:
                    self.lose_answers -= 1
                    break
                writer.write(answer)
                await writer.drain()
        writer.close()

    def header(self, name: str) -> list[str]:
        """Its value in each request that had it, in order."""
        lines = [line for asked in self.requests for line in asked.decode().split("\r\n")]
        return [line.partition(": ")[2] for line in lines if line.lower().startswith(f"{name}: ")]


@contextlib.asynccontextmanager
async def wire_to(port: int) -> AsyncIterator[Wire]:
    wire = Wire(port)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        server.close()
