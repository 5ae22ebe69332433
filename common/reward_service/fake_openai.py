"""A stand-in for a chat completions server, for tests: fails each first request, then grades by rule.

A task with "refuse" in it is a bad request, one with "mute" gets a reply without a grade, all others 7. The
last line of a run is asked for with GET: how many requests came, and whether all had the key.
"""
import http.server
import json

seen = {"requests": 0, "keys": set()}
tried = set()


class Handler(http.server.BaseHTTPRequestHandler):
    def reply(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        keys = sorted(str(key) for key in seen["keys"])
        self.reply(200, f"{seen['requests']} requests, keys {keys}".encode())

    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        seen["requests"] += 1
        seen["keys"].add(self.headers.get("Authorization"))
        if "refuse" in text:
            self.reply(400)
        elif text not in tried:
            tried.add(text)
            self.reply(503, headers=[("Retry-After", "0")])
        else:
            said = "I cannot say." if "mute" in text else "Well done. Grade: 7"
            self.reply(200, json.dumps({"choices": [{"message": {"content": said}}],
                                        "usage": {"total_tokens": 9}}).encode())

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"listening on port {server.server_port}", flush=True)
server.serve_forever()
