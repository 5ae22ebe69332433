"""A Prometheus server of a test: where it listens, its command line, questions to it, and its end."""

import json
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request


class Refused(ValueError):
    """Prometheus understood the question and says why it has no answer."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command(folder, address):
    """Of a server whose configuration is `folder`/prometheus.yml and whose data lie beside it."""
    return ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address={address}"]


def ask(address, path, **arguments):
    """The data of an answer of the HTTP API; Refused, or OSError where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{address}/api/v1/{path}?{urllib.parse.urlencode(arguments)}", timeout=30) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise Refused(f"{path} {arguments}: {error.read().decode()[:300]}") from error


def end(process):
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
