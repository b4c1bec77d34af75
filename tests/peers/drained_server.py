"""An echo server of the `websockets` package; says its port, and every connection's close code."""

import asyncio

from websockets.asyncio.server import serve


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def serve_one(connection):
    try:
        await echo(connection)
    except Exception:
        # What follows says how it ended.
        pass
    await connection.wait_closed()
    print("closed", connection.close_code, flush=True)


async def main():
    async with serve(serve_one, "127.0.0.1", 0, max_size=None) as server:
        print("ready", server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


asyncio.run(main())
