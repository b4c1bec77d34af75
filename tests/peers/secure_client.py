"""Many tunnels of the `websockets` package over TLS: random messages, each compared with its echo,
until the time is over; then an orderly close.

Arguments: URL, the certificate to trust, seconds, tunnels. Says `open` once all are, then `ok`.
"""

import asyncio
import random
import ssl
import sys
import time

from websockets.asyncio.client import connect


async def converse(connection, end, seed):
    chance = random.Random(seed)
    messages = 0
    while messages < 3 or time.monotonic() < end:
        size = chance.choice((0, 5, 125, 126, 1000, 16384, 65536, 300000))
        message = chance.randbytes(size)
        await connection.send(message)
        answer = await asyncio.wait_for(connection.recv(), 20)
        assert answer == message, f"{len(answer)} bytes for {size}"
        messages += 1
    await asyncio.wait_for(await connection.ping(), 20)
    await connection.close()
    assert connection.close_code == 1000, connection.close_code
    return messages


async def main(url, certificate, seconds, tunnels):
    context = None
    if url.startswith("wss:"):
        context = ssl.create_default_context(cafile=certificate)
        context.check_hostname = False
    connections = [
        await connect(url, ssl=context, max_size=None, ping_interval=None)
        for _ in range(int(tunnels))
    ]
    print("open", flush=True)
    end = time.monotonic() + float(seconds)
    counts = await asyncio.gather(
        *(converse(connection, end, seed) for seed, connection in enumerate(connections))
    )
    print("messages", sum(counts), file=sys.stderr)
    print("ok", flush=True)


asyncio.run(main(*sys.argv[1:]))
