"""A client of aiohttp: messages of many sizes, then plain requests on kept connections."""

import asyncio
import os
import sys

from aiohttp import ClientSession, WSMsgType


async def main(url, pages):
    async with ClientSession() as session:
        async with session.ws_connect(url, max_msg_size=0) as connection:
            for size in (0, 1, 126, 65536, 1 << 20):
                message = os.urandom(size)
                await connection.send_bytes(message)
                answer = await connection.receive()
                assert answer.type == WSMsgType.BINARY and answer.data == message, size
            await connection.ping()
            await connection.close()
        if pages == "pages":
            for body in ("", "x" * 10, "y" * 300_000):
                async with session.post(url + "page", data=body) as answer:
                    assert answer.status == 200, answer.status
                    assert await answer.text() == "POST " + body
    print("ok", flush=True)


asyncio.run(main(sys.argv[1], sys.argv[2]))
