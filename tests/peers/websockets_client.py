"""A client of the `websockets` package: text, binary, large, ping, and an orderly close;
through an HTTP proxy when one is given.

Arguments: URL, the proxy or nothing, the certificate to trust of a wss URL.
"""

import asyncio
import os
import ssl
import sys

from websockets.asyncio.client import connect


async def main(url, proxy="", root=None):
    context = ssl.create_default_context(cafile=root) if root else None
    async with connect(url, max_size=None, proxy=proxy or None, ssl=context) as connection:
        for size in (0, 1, 125, 126, 65535, 65536, 1 << 20):
            message = os.urandom(size)
            await connection.send(message)
            assert await connection.recv() == message, size
        await connection.send("žluťoučký kůň")
        assert await connection.recv() == "žluťoučký kůň"
        await asyncio.wait_for(await connection.ping(), 5)
    assert connection.close_code == 1000, connection.close_code
    print("ok", flush=True)


asyncio.run(main(*sys.argv[1:]))
