"""The API that a HorizontalPodAutoscaler asks for external metrics, answered from a Prometheus beside the cluster.

What prometheus-adapter does in a real cluster, in the few lines that one scenario needs. Its address is that of a node,
so it works only where this test runs on the cluster's node.
"""

import contextlib
import http.server
import json
import pathlib
import socket
import ssl
import tempfile
import threading
import urllib.parse
from datetime import datetime, timezone

from k8s import Cluster, Failed, Skipped, run, wait_until

GROUP = "external.metrics.k8s.io"
API = f"/apis/{GROUP}/v1beta1"
SERVICE = "external-metrics"


def node_address():
    addresses = Cluster().get("nodes")["items"][0]["status"]["addresses"]
    address = next(one["address"] for one in addresses if one["type"] == "InternalIP")
    try:
        with socket.socket() as probe:
            probe.bind((address, 0))
    except OSError as error:
        raise Skipped(f"this test does not run on the cluster's node: {address} is not an address of this machine") from error
    return address


class ExternalMetrics:
    """`with ExternalMetrics(cluster, prometheus, metric):` adds the API to the cluster and takes it away again."""

    def __init__(self, cluster, prometheus, metric):
        self.cluster, self.prometheus, self.metric = cluster, prometheus, metric
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        name = f"v1beta1.{GROUP}"
        if Cluster().exists("apiservice", name):
            raise Skipped(f"the cluster has an API of its own for external metrics ({name})")
        address = node_address()
        with contextlib.ExitStack() as stack:
            port = self._serve(stack, address)
            stack.callback(run, ["kubectl", "delete", "apiservice", name, "--ignore-not-found"])
            self._register(name, address, port)
            wait_until(60, "the API of external metrics", lambda: run(["kubectl", "get", "--raw", API])[1])
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        return self._stack.__exit__(*exception)

    def _serve(self, stack, address):
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={SERVICE}",
             "-keyout", folder / "key", "-out", folder / "cert"])
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(folder / "cert", folder / "key")
        server = http.server.ThreadingHTTPServer((address, 0), handler(self.prometheus, self.metric))
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_address[1]

    def _register(self, name, address, port):
        namespace = self.cluster.namespace
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE},
             "spec": {"ports": [{"port": 443, "targetPort": port, "protocol": "TCP"}]}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {"name": SERVICE, "labels": {"kubernetes.io/service-name": SERVICE}},
             "endpoints": [{"addresses": [address]}], "ports": [{"port": port, "protocol": "TCP"}]})
        Cluster().apply(
            {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": name},
             "spec": {"group": GROUP, "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
                      "insecureSkipTLSVerify": True, "service": {"name": SERVICE, "namespace": namespace}}})


def handler(prometheus, metric):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # the name is http.server's
            address = urllib.parse.urlsplit(self.path)
            try:
                body = answer(prometheus, metric, address)
            except Failed as failure:
                body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": str(failure), "code": 500}
            text = json.dumps(body).encode()
            self.send_response(body.get("code", 200))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    return Handler


def answer(prometheus, metric, address):
    if not address.path.startswith(f"{API}/namespaces/"):
        resource = {"name": metric, "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"], "singularName": ""}
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/v1beta1", "resources": [resource]}
    name = urllib.parse.unquote(address.path.rsplit("/", 1)[1])
    selector = urllib.parse.parse_qs(address.query).get("labelSelector", [""])[0]
    labels = ",".join(f'{key}="{value}"' for key, value in (pair.split("=", 1) for pair in selector.split(",") if pair))
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    items = [{"metricName": name, "metricLabels": found, "timestamp": now, "value": f"{round(value * 1000)}m"}
             for found, value in prometheus.query(f"{name}{{{labels}}}")]
    return {"kind": "ExternalMetricValueList", "apiVersion": f"{GROUP}/v1beta1", "metadata": {}, "items": items}
