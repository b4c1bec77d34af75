"""Clients of the `websockets` package that wait to be closed: URL, how many, how many of them talk.

Says `open`, then one line with how often each close code came and the most that came in a second.
"""

import asyncio
import collections
import os
import sys
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


async def talk(connection):
    """Messages of all sizes, every echo in order and whole."""
    waiting = collections.deque()

    async def listen():
        async for message in connection:
            assert message == waiting.popleft(), "a wrong echo"

    listener = asyncio.create_task(listen())
    try:
        while not listener.done():
            message = os.urandom(int.from_bytes(os.urandom(3), "big") % 100_000)
            waiting.append(message)
            await connection.send(message)
            if len(waiting) > 4:
                await asyncio.sleep(0.001)
    except ConnectionClosed:
        pass
    try:
        await listener
    except ConnectionClosed:
        pass


async def main(url, count, talkers):
    async def shake_hands():
        return await connect(url, max_size=None, open_timeout=30)

    connections = await asyncio.gather(*(shake_hands() for _ in range(count)))
    ends = []

    async def live(number, connection):
        if number < talkers:
            await talk(connection)
        await connection.wait_closed()
        ends.append(time.monotonic())
        return connection.close_code

    lives = [asyncio.create_task(live(*pair)) for pair in enumerate(connections)]
    for connection in connections[talkers:]:
        await connection.send("hello")
        assert await connection.recv() == "hello"
    print("open", flush=True)
    codes = collections.Counter(await asyncio.gather(*lives))
    most = max(sum(begin <= end < begin + 1 for end in ends) for begin in ends)
    text = " ".join(f"{code}:{number}" for code, number in sorted(codes.items()))
    print(text, most, flush=True)


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
