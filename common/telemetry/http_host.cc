#include "common/telemetry/http_host.h"

#include <httplib.h>
#include <sys/socket.h>

#include <cerrno>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/host_port.h"
#include "common/base/log.h"

namespace cohort {
namespace {

constexpr size_t kThreads = 4;
constexpr size_t kMaxRequestBytes = 16 * 1024;
constexpr time_t kTimeoutSeconds = 5;

void ReplyStatus(const std::function<absl::Status()>& check, httplib::Response* response) {
  const absl::Status status = check ? check() : absl::OkStatus();
  response->status = status.ok() ? 200 : 503;
  response->set_content(status.ok() ? "ok\n" : absl::StrCat(std::string(status.message()), "\n"),
                        "text/plain; charset=utf-8");
}

void ReplyText(const std::function<std::string()>& text, const char* type,
               httplib::Response* response) {
  if (text) {
    response->set_content(text(), type);
  } else {
    response->status = 404;
  }
}

}  // namespace

struct HttpHost::Impl {
  httplib::Server server;
  std::thread thread;
  std::string address;
};

HttpHost::HttpHost() : impl_(std::make_unique<Impl>()) {}
HttpHost::~HttpHost() { Stop(); }
const std::string& HttpHost::address() const { return impl_->address; }

void HttpHost::Stop() {
  if (!impl_->thread.joinable()) return;
  // Between Start() and the first accept the server ignores stop().
  const absl::Time deadline = absl::Now() + absl::Seconds(5);
  while (!impl_->server.is_running() && absl::Now() < deadline) std::this_thread::yield();
  impl_->server.stop();
  impl_->thread.join();
}

absl::StatusOr<std::unique_ptr<HttpHost>> HttpHost::Start(const std::string& listen,
                                                          const MetricRegistry* registry,
                                                          HttpCallbacks callbacks) {
  const absl::StatusOr<HostPort> where = ParseHostPort(listen);
  if (!where.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("HTTP address: ", std::string(where.status().message())));
  }
  std::unique_ptr<HttpHost> host(new HttpHost());
  httplib::Server& server = host->impl_->server;

  server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  // The default sets SO_REUSEPORT, with which two processes would share one port unnoticed.
  server.set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });
  server.set_payload_max_length(kMaxRequestBytes);
  server.set_read_timeout(kTimeoutSeconds);
  server.set_write_timeout(kTimeoutSeconds);
  server.set_keep_alive_timeout(1);

  server.Get("/metrics", [registry](const httplib::Request&, httplib::Response& response) {
    response.set_content(registry->Text(), "text/plain; version=0.0.4; charset=utf-8");
  });
  server.Get("/healthz", [check = callbacks.healthy](const auto&, httplib::Response& response) {
    ReplyStatus(check, &response);
  });
  server.Get("/readyz", [check = callbacks.ready](const auto&, httplib::Response& response) {
    ReplyStatus(check, &response);
  });
  server.Get("/status", [text = callbacks.status_json](const auto&, httplib::Response& response) {
    ReplyText(text, "application/json", &response);
  });
  server.Get("/", [text = callbacks.status_html](const auto&, httplib::Response& response) {
    ReplyText(text, "text/html; charset=utf-8", &response);
  });

  errno = 0;
  const int port = where->port == 0 ? server.bind_to_any_port(where->host)
                   : server.bind_to_port(where->host, where->port) ? where->port
                                                                   : -1;
  if (port < 0) {
    return ErrnoStatus(errno == 0 ? EADDRINUSE : errno,
                       absl::StrCat("HTTP server cannot listen on ", listen,
                                    " (in use, or not an address of this machine); choose another "
                                    "port, or 0 for any free one"));
  }
  host->impl_->address = absl::StrCat(listen.substr(0, listen.rfind(':')), ":", port);
  host->impl_->thread = std::thread([&server] { server.listen_after_bind(); });
  return host;
}

}  // namespace cohort
