"""`flowseg app`: a trained run, or several as one, on a page in the browser."""

from dataclasses import asdict, dataclass
from typing import Annotated

from flowseg.bounds import Bound
from flowseg.commands.trained import Sampling, with_runs
from flowseg.errors import UserError, pip_install


@dataclass(frozen=True, kw_only=True)
class App(Sampling):
    """Segment images on a page in the browser, with a run, several runs as one, or an exported model."""

    host: str = "127.0.0.1"
    """Address to serve the page on. 127.0.0.1 reaches this machine only; 0.0.0.0 is the whole network."""
    port: Annotated[int, Bound(lambda n: 0 <= n < 2**16, "must lie between 0 and 65535")] = 7860
    """Port of the page; 0 takes a free one."""


def app(args: list[str]) -> None:
    parsed, runs = with_runs(App, args, "app")
    try:
        from flowseg.app.server import LOCAL, bind, make_server
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        remedy = f"install it with: {pip_install('flowseg[app]')}"
        raise UserError(f"flowseg app: needs a web server; {remedy}") from None
    from flowseg.api import load
    from flowseg.progress import console

    # Before the model, which takes longer.
    with bind(parsed.host, parsed.port) as opened:
        path = parsed.run if len(runs) > 1 else runs[0].path
        model = load(path, embeddings=parsed.embeddings, **asdict(parsed.settings))
        server = make_server(model, str(parsed.run), parsed.host)
        host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
        if parsed.host not in LOCAL:
            console.print(
                "NOTE: --host lets anyone on the network use this page; nothing asks for a password, and images are "
                "sent unencrypted",
            )
        console.print(f"{parsed.run} is on http://{host}:{opened.getsockname()[1]} (Ctrl-C stops it)")
        server.run(sockets=[opened])
