"""An echo server of the `websockets` package; says its port.

Arguments: nothing, or a certificate and its key to serve with TLS.
"""

import asyncio
import ssl
import sys

from websockets.asyncio.server import serve


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def main(*files):
    context = None
    if files:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
    async with serve(echo, "127.0.0.1", 0, max_size=None, ssl=context) as server:
        print("ready", server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


asyncio.run(main(*sys.argv[1:]))
