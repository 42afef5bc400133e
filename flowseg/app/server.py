"""The web server of `flowseg app`: the page, and the few requests that it makes."""

import socket
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flowseg.api import Model
from flowseg.app.segmenter import MAX_ENSEMBLE, MAX_STEPS, Asked, Segmenter
from flowseg.app.uploads import Uploads
from flowseg.config_values import from_dict
from flowseg.errors import UserError
from flowseg.files import parse_json
from flowseg.progress import console

LOCAL = ("127.0.0.1", "localhost")
_FILES = {
    "/": ("index.html", "text/html"),
    "/app.css": ("app.css", "text/css"),
    "/app.js": ("app.js", "text/javascript"),
}
_HEADERS = {
    # The page needs nothing from elsewhere and is in no other page; pictures are data URLs.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_MAX_REQUEST = 2**16


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket on which the page is served; port 0 takes a free one.

    Raises:
        UserError: the address cannot be used.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        # Python adds the address to the system's reason.
        reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        raise UserError(f"{host}, port {port}: cannot be used ({reason}); choose another --port or --host") from None


def make_server(model: Model, name: str, host: str) -> uvicorn.Server:
    """Returns the server of a model's page; `server.run(sockets=[...])` serves it until Ctrl-C or SIGTERM.

    Uploaded files lie in a new temporary folder, which is deleted when the server stops.

    Args:
        name: the run, as the page calls it.
        host: the address. On those in `LOCAL` only requests that name this machine are answered, so that no page from
            elsewhere reaches the server through a host name of its own.
    """
    app = _Requests(Segmenter(model), name).app(LOCAL if host in LOCAL else ("*",))
    # uvicorn's own set-up of logging would close the handlers of all other libraries, and with them their streams.
    config = uvicorn.Config(app, log_config=None, log_level="error", timeout_graceful_shutdown=5)
    return uvicorn.Server(config)


class _Requests:
    """What the page asks for."""

    def __init__(self, segmenter: Segmenter, name: str):
        self._segmenter, self._name = segmenter, name
        self._uploads: Uploads

    def app(self, hosts: tuple[str, ...]) -> Starlette:
        routes = [Route(path, _file(*file)) for path, file in _FILES.items()]
        routes += [
            Route("/settings", self._answered(self._settings)),
            Route("/images", self._answered(self._add), methods=["POST"]),
            Route("/segment", self._answered(self._segment), methods=["POST"]),
            Route("/forget", self._answered(self._forget), methods=["POST"]),
        ]
        guard = Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
        return Starlette(routes=routes, middleware=[guard], lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        with tempfile.TemporaryDirectory(prefix="flowseg-app-") as folder:
            self._uploads = Uploads(Path(folder))
            console.print(
                f"uploaded files lie in {folder} until their page is closed; all are deleted when this program ends",
            )
            yield

    def _answered(self, handle: Callable[[Request], Any]) -> Callable[[Request], Any]:
        """Returns a handler that answers in JSON; a problem is one line, without the folder of the uploads."""

        async def answer(request: Request) -> Response:
            origin = request.headers.get("origin")
            try:
                if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
                    raise UserError("the request comes from another page; open this server's own")
                return JSONResponse(await handle(request), headers=_HEADERS)
            except UserError as error:
                line, status = str(error), 400
            except ClientDisconnect:
                raise
            except Exception as error:  # a defect of flowseg, or too little memory: the server goes on
                traceback.print_exc(file=sys.stderr)
                line, status = f"flowseg failed ({type(error).__name__}); the terminal that it runs in shows why", 500
            return JSONResponse({"error": _without(line, self._uploads.folder)}, status, headers=_HEADERS)

        return answer

    async def _settings(self, request: Request) -> dict[str, Any]:
        start, config = self._segmenter.start, self._segmenter.config
        alone = config.flow.family == "supervised"  # one evaluation, nothing drawn
        return {
            "run": self._name,
            "folder": str(self._uploads.folder),
            "steps": {"value": start.steps, "max": MAX_STEPS, "used": not alone and config.eval.sampler != "dopri5"},
            "ensemble": {"value": start.ensemble, "max": MAX_ENSEMBLE, "used": not alone},
            "threshold": {"value": start.threshold},
        }

    async def _add(self, request: Request) -> dict[str, Any]:
        number, upload = await self._uploads.add(request.query_params.get("name", ""), request.stream())
        return {"image": number, "name": upload.path.name, "frames": upload.frames}

    async def _segment(self, request: Request) -> dict[str, Any]:
        try:
            asked = from_dict(Asked, await _json(request))
        except TypeError as error:
            raise UserError(f"the request lacks a field ({error}); reload the page") from None
        path = self._uploads.find(asked.image).path
        return await run_in_threadpool(self._segmenter.answer, path, asked.frame, asked.choice)

    async def _forget(self, request: Request) -> dict[str, Any]:
        numbers = await _json(request)
        if not isinstance(numbers, list) or not all(isinstance(number, str) for number in numbers):
            raise UserError("the request lists no images; reload the page")
        self._uploads.delete(numbers)
        self._segmenter.forget()
        return {}


async def _json(request: Request) -> Any:
    """Returns a request's content; one that is not JSON, or long, is a UserError."""
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > _MAX_REQUEST:
            raise UserError(f"the request is longer than {_MAX_REQUEST} bytes; reload the page")
    try:
        return parse_json(content)
    except ValueError:
        raise UserError("the request is not JSON; reload the page") from None


def _without(line: str, folder: Path) -> str:
    """Returns a message that names uploaded files as the user does."""
    parts = line.split(f"{folder}/")
    return parts[0] + "".join(part.partition("/")[2] for part in parts[1:])


def _file(name: str, kind: str) -> Callable[[Request], Any]:
    """Returns a handler that answers with a file of flowseg/app/page."""
    content = (resources.files("flowseg.app") / "page" / name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind, headers=_HEADERS)

    return answer
