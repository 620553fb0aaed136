"""Programs with live pages for the tests of their end: one hub in each framework."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager

from hub_tables import models
from sqlalchemy import select
from sqlalchemy.ext.asyncio import create_async_engine

from sa_pgnotify.web import Hub

Note = models().Note
engine = create_async_engine(os.environ["DATABASE_URL"])
hub = Hub(engine)
STATEMENT = select(Note.id, Note.body)


@asynccontextmanager
async def lifespan(app):
    async with hub:
        yield
    await engine.dispose()


def starlette():
    from starlette.applications import Starlette
    from starlette.routing import Route, WebSocketRoute

    async def live(request):
        return hub.events(STATEMENT, request=request)

    async def socketed(websocket):
        await hub.websocket(STATEMENT, websocket=websocket)

    return Starlette(
        routes=[Route("/live", live), WebSocketRoute("/socket", socketed)], lifespan=lifespan
    )


def fastapi():
    from fastapi import FastAPI, Request, WebSocket
    from fastapi.responses import Response

    app = FastAPI(lifespan=lifespan)

    async def live(request) -> Response:
        return hub.events(STATEMENT, request=request)

    async def socketed(websocket) -> None:
        await hub.websocket(STATEMENT, websocket=websocket)

    live.__annotations__["request"] = Request
    socketed.__annotations__["websocket"] = WebSocket
    live.__annotations__["return"] = Response
    app.get("/live")(live)
    app.websocket("/socket")(socketed)
    return app


def litestar():
    from litestar import Litestar, Request, WebSocket, get, websocket
    from starlette.responses import StreamingResponse

    async def live(request) -> StreamingResponse:
        return hub.events(STATEMENT, request=request)

    async def socketed(socket) -> None:
        await hub.websocket(STATEMENT, websocket=socket)

    live.__annotations__.update({"request": Request, "return": StreamingResponse})
    socketed.__annotations__.update({"socket": WebSocket, "return": None})
    return Litestar(
        [get("/live")(live), websocket("/socket")(socketed)],
        lifespan=[lifespan],
        openapi_config=None,
    )


app = {"starlette": starlette, "fastapi": fastapi, "litestar": litestar}[os.environ["FRAMEWORK"]]()
