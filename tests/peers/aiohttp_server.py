"""An echo server of aiohttp, with a plain page beside it; says its port."""

import asyncio

from aiohttp import WSMsgType, web


async def chat(request):
    answer = web.WebSocketResponse(max_msg_size=0)
    await answer.prepare(request)
    async for message in answer:
        if message.type == WSMsgType.TEXT:
            await answer.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await answer.send_bytes(message.data)
    return answer


async def page(request):
    return web.Response(text=f"{request.method} {await request.text()}")


async def main():
    app = web.Application()
    app.router.add_get("/chat/", chat)
    app.router.add_route("*", "/chat/page", page)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print("ready", runner.addresses[0][1], flush=True)
    await asyncio.Future()


asyncio.run(main())
