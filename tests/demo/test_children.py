"""A child of the demo leaves when its parent lets go of it, whatever it is doing."""

import asyncio
import os
import sys


async def test_an_agent_that_hangs_leaves_with_its_parent():
    """Its broker takes the call and never answers; the pipe closes, and the agent is gone at once."""
    called = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        called.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as broker:
        url = f"http://127.0.0.1:{broker.sockets[0].getsockname()[1]}"
        agent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "dropoff.demo.writer"),
            env=os.environ | {"DROPOFF_URL": url, "DROPOFF_BEARER": "dropoff_bearer_x", "NO_PROXY": "127.0.0.1"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await asyncio.wait_for(called.wait(), 60)
            assert agent.stdin is not None
            agent.stdin.close()
            assert await asyncio.wait_for(agent.wait(), 5) == 0
        finally:
            if agent.returncode is None:
                agent.kill()
                await agent.wait()
