"""The reports as pages that a link in Dagster can open: browsers open no file from a web page.

`python -m orchestration ui` serves the project's reports beside Dagster, on this machine only.
"""

import logging
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from instructue.paths import Paths

PORT = 3001  # fixed: a link is kept with the version that it is about
log = logging.getLogger("instructue.pages")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal is Dagster's."""


def address(place: str, root: Path) -> str | None:
    """Where the page at `place` (a path, perhaps with #section) opens while the UI runs; None if it is no report."""
    path, _, section = place.partition("#")
    reports = Paths(root.resolve()).reports
    found = (root / path).resolve()
    if found.suffix != ".html" or not found.is_relative_to(reports):
        return None
    return f"http://127.0.0.1:{PORT}/{found.relative_to(reports).as_posix()}" + (f"#{section}" if section else "")


def serve(root: Path, port: int = PORT) -> ThreadingHTTPServer | None:
    """Serve the reports of `root` from a thread until this process ends; None, with a warning, if the port is taken."""
    handler = partial(_Quiet, directory=str(Paths(root).reports))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        log.warning("reports are not served, links to them stay dead: port %d is taken (%s)", port, error)
        return None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
