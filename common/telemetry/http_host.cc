#include "common/telemetry/http_host.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/exit_code.h"
#include "common/base/host_port.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/telemetry/http_page.h"

namespace cohort {
namespace {

// More than these and the oldest is closed for the newest: who is answered at once is never the
// oldest.
constexpr size_t kMaxConnections = 256;
// With those that wait for a page and were closed meanwhile: they go when they have their answer.
constexpr unsigned kMaxOfLibrary = kMaxConnections + 6 * HttpPage::kMaxWaiting;
constexpr size_t kConnectionMemory = 16 * 1024;  // bounds a request's head
constexpr absl::Duration kWatchEvery = absl::Milliseconds(100);
// A probe gives up after a second.
constexpr absl::Duration kProbePatience = absl::Milliseconds(800);

constexpr char kPlainText[] = "text/plain; charset=utf-8";
constexpr char kNothing[] = "default-src 'none'; frame-ancestors 'none'";
constexpr char kStatusPath[] = "/status";
constexpr char kPagePath[] = "/";
constexpr int kMisdirected = 421;

// Of every answer. What is shown is the run's own business: no cache keeps it, no other site frames
// or reads it.
constexpr std::pair<const char*, const char*> kHeaders[] = {
    {"Cache-Control", "no-store"},
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"Cross-Origin-Resource-Policy", "same-origin"}};

bool IsAddress(const std::string& host) {
  in6_addr any{};
  return inet_pton(AF_INET, host.c_str(), &any) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &any) == 1;
}

bool IsOwnName(const std::string& host) {
  char own[256] = "";
  return gethostname(own, sizeof(own) - 1) == 0 && absl::EqualsIgnoreCase(host, own);
}

// What a browser puts there is where its user wanted to go. Null: no browser asks.
bool AsksForThisMachine(const char* host) {
  if (host == nullptr) return true;
  const bool port = std::strchr(host, ':') != nullptr && host[std::strlen(host) - 1] != ']';
  const auto where = ParseHostPort(port ? host : absl::StrCat(host, ":0"));
  return where.ok() &&
         (IsLoopbackHost(where->host) || IsAddress(where->host) || IsOwnName(where->host));
}

HttpAnswer AnswerOf(const std::function<absl::Status()>& check) {
  const absl::Status status = check ? check() : absl::OkStatus();
  return {status.ok() ? 200 : 503, kPlainText,
          status.ok() ? "ok\n" : absl::StrCat(status.message(), "\n")};
}

// Malformed is malformed at every start; anything else may pass.
absl::StatusOr<int> Listen(const std::string& listen) {
  const absl::StatusOr<HostPort> where = ParseHostPort(listen);
  if (!where.ok()) {
    return BadSetup(
        absl::InvalidArgumentError(absl::StrCat("--http-listen: ", where.status().message())));
  }
  absl::StatusOr<int> listener = ListenOn(*where);
  if (listener.ok()) return listener;
  return absl::Status(listener.status().code(),
                      absl::StrCat("HTTP server: ", listener.status().message()));
}

using ResponsePtr = std::unique_ptr<MHD_Response, decltype(&MHD_destroy_response)>;

// Every answer ends its connection: a watcher asks every few seconds, and a connection that is kept
// would be a slot that idle clients can hold.
ResponsePtr MakeResponse(const HttpAnswer& answer) {
  ResponsePtr response(
      MHD_create_response_from_buffer(answer.body.size(), const_cast<char*>(answer.body.data()),
                                      MHD_RESPMEM_MUST_COPY),
      &MHD_destroy_response);
  MHD_add_response_header(response.get(), MHD_HTTP_HEADER_CONTENT_TYPE, answer.type.c_str());
  MHD_add_response_header(response.get(), MHD_HTTP_HEADER_CONNECTION, "close");
  MHD_add_response_header(response.get(), "Content-Security-Policy",
                          answer.policy.empty() ? kNothing : answer.policy.c_str());
  for (const auto& [name, value] : kHeaders) MHD_add_response_header(response.get(), name, value);
  return response;
}

MHD_Result Queue(MHD_Connection* connection, const HttpAnswer& answer) {
  const ResponsePtr response = MakeResponse(answer);
  if (answer.status == MHD_HTTP_METHOD_NOT_ALLOWED) {
    MHD_add_response_header(response.get(), MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
  }
  return MHD_queue_response(connection, static_cast<unsigned>(answer.status), response.get());
}

// The connections that are open, and since when. Thread-safe.
class Connections {
 public:
  void Opened(MHD_Connection* connection) {
    const MHD_ConnectionInfo* info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info == nullptr) return;
    absl::MutexLock lock(&mu_);
    if (open_.size() >= kMaxConnections) CloseOldest();
    open_.push_back({connection, info->connect_fd, absl::Now()});
  }
  // Before its descriptor is closed.
  void Closed(MHD_Connection* connection) {
    absl::MutexLock lock(&mu_);
    const auto it = std::find_if(open_.begin(), open_.end(), [connection](const Open& open) {
      return open.connection == connection;
    });
    if (it != open_.end()) open_.erase(it);
  }
  void CloseThoseSince(absl::Time since) {
    absl::MutexLock lock(&mu_);
    while (!open_.empty() && open_.front().since <= since) CloseOldest();
  }
  bool empty() const {
    absl::MutexLock lock(&mu_);
    return open_.empty();
  }

 private:
  struct Open {
    MHD_Connection* connection;
    int fd;
    absl::Time since;
  };
  // The server's thread sees the end of the stream and frees the connection.
  void CloseOldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    shutdown(open_.front().fd, SHUT_RDWR);
    open_.pop_front();
  }

  mutable absl::Mutex mu_;
  std::deque<Open> open_ ABSL_GUARDED_BY(mu_);  // oldest first
};

// A request whose page is being made; its connection is suspended until `answer` is there.
struct Request {
  absl::Mutex mu;
  std::shared_ptr<const HttpAnswer> answer ABSL_GUARDED_BY(mu);
};

}  // namespace

struct HttpHost::Impl {
  static MHD_Result Handle(void* self, MHD_Connection* connection, const char* path,
                           const char* method, const char* version, const char* upload,
                           size_t* upload_bytes, void** request);
  static void OnCompleted(void* self, MHD_Connection* connection, void** request,
                          MHD_RequestTerminationCode why);
  static void OnConnection(void* self, MHD_Connection* connection, void** context,
                           MHD_ConnectionNotificationCode what);

  void AddPages(const MetricRegistry* registry, const HttpCallbacks& callbacks);
  MHD_Result Ask(MHD_Connection* connection, const char* path, void** request);
  void Watch();
  void Stop();

  HttpLimits limits;
  bool loopback = false;                                   // listens there
  std::map<std::string, std::unique_ptr<HttpPage>> pages;  // constant once started
  Connections connections;
  MHD_Daemon* daemon = nullptr;
  absl::Mutex mu;
  bool stopped ABSL_GUARDED_BY(mu) = false;
  std::thread watcher;
  std::string address;
};

MHD_Result HttpHost::Impl::Handle(void* self, MHD_Connection* connection, const char* path,
                                  const char* method, const char*, const char*,
                                  size_t* upload_bytes, void** request) {
  if (*request == nullptr) {
    const bool reads =
        std::strcmp(method, MHD_HTTP_METHOD_GET) == 0 || std::strcmp(method, "HEAD") == 0;
    if (!reads) {
      return Queue(connection, {MHD_HTTP_METHOD_NOT_ALLOWED, kPlainText, "expected GET or HEAD\n"});
    }
    return static_cast<Impl*>(self)->Ask(connection, path, request);
  }
  // A body has no meaning here; the connection's limit bounds it.
  if (*upload_bytes != 0) {
    *upload_bytes = 0;
    return MHD_YES;
  }
  auto* const asked = static_cast<Request*>(*request);
  absl::MutexLock lock(&asked->mu);
  return Queue(connection, *asked->answer);
}

MHD_Result HttpHost::Impl::Ask(MHD_Connection* connection, const char* path, void** request) {
  const auto page = pages.find(path);
  if (page == pages.end()) return Queue(connection, {404, kPlainText, "no such page\n"});
  const bool of_the_run = page->first == kStatusPath || page->first == kPagePath;
  if (of_the_run && !AsksForThisMachine(MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
                                                                    MHD_HTTP_HEADER_HOST))) {
    return Queue(connection, {kMisdirected, kPlainText,
                              "expected localhost, an IP address or this host's own name as Host: "
                              "another name may have been made to point here\n"});
  }
  auto* const asked = new Request();  // until OnCompleted
  *request = asked;
  MHD_suspend_connection(connection);
  page->second->Ask([asked, connection](std::shared_ptr<const HttpAnswer> answer) {
    {
      absl::MutexLock lock(&asked->mu);
      asked->answer = std::move(answer);
    }
    MHD_resume_connection(connection);
  });
  return MHD_YES;
}

void HttpHost::Impl::OnCompleted(void*, MHD_Connection*, void** request,
                                 MHD_RequestTerminationCode) {
  delete static_cast<Request*>(*request);
  *request = nullptr;
}

void HttpHost::Impl::OnConnection(void* self, MHD_Connection* connection, void**,
                                  MHD_ConnectionNotificationCode what) {
  Connections& connections = static_cast<Impl*>(self)->connections;
  if (what == MHD_CONNECTION_NOTIFY_STARTED) {
    connections.Opened(connection);
  } else {
    connections.Closed(connection);
  }
}

void HttpHost::Impl::AddPages(const MetricRegistry* registry, const HttpCallbacks& callbacks) {
  const auto add = [this](const char* path, absl::Duration patience,
                          std::function<HttpAnswer()> make) {
    pages[path] = std::make_unique<HttpPage>(path, patience, std::move(make));
  };
  if (registry != nullptr) {
    add("/healthz", kProbePatience, [check = callbacks.healthy] { return AnswerOf(check); });
    add("/readyz", kProbePatience, [check = callbacks.ready] { return AnswerOf(check); });
    add("/metrics", limits.page, [registry, text = callbacks.metrics] {
      return HttpAnswer{200, "text/plain; version=0.0.4; charset=utf-8",
                        text ? text() : registry->Text()};
    });
  }
  if (callbacks.status_json) {
    add(kStatusPath, limits.page,
        [text = callbacks.status_json] { return HttpAnswer{200, "application/json", text()}; });
  }
  if (callbacks.status_html) {
    add(kPagePath, limits.page, [text = callbacks.status_html, policy = callbacks.status_policy] {
      return HttpAnswer{200, "text/html; charset=utf-8", text(), policy};
    });
  }
}

// Ends what takes too long.
void HttpHost::Impl::Watch() {
  absl::MutexLock lock(&mu);
  while (!stopped) {
    mu.AwaitWithTimeout(absl::Condition(&stopped), kWatchEvery);
    if (connections.empty()) continue;
    const absl::Time now = absl::Now();
    for (const auto& [path, page] : pages) page->Expire(now);
    // libmicrohttpd's own limit is on silence, which a byte a second never reaches.
    connections.CloseThoseSince(now - limits.connection);
  }
}

// A connection that is still suspended may not outlive the server's thread, so the pages end first.
void HttpHost::Impl::Stop() {
  {
    absl::MutexLock lock(&mu);
    stopped = true;
  }
  if (watcher.joinable()) watcher.join();
  for (const auto& [path, page] : pages) page->Stop();
  if (daemon != nullptr) MHD_stop_daemon(daemon);
  daemon = nullptr;
}

HttpHost::HttpHost() : impl_(std::make_unique<Impl>()) {}
HttpHost::~HttpHost() { Stop(); }
const std::string& HttpHost::address() const { return impl_->address; }
void HttpHost::Stop() { impl_->Stop(); }

absl::StatusOr<std::unique_ptr<HttpHost>> HttpHost::Start(const std::string& listen,
                                                          const MetricRegistry* registry,
                                                          HttpCallbacks callbacks,
                                                          HttpLimits limits) {
  COHORT_ASSIGN_OR_RETURN(const int fd, Listen(listen));
  std::unique_ptr<HttpHost> host(new HttpHost());
  Impl* const impl = host->impl_.get();
  impl->address = absl::StrCat(listen.substr(0, listen.rfind(':')), ":", PortOf(fd));
  impl->limits = limits;
  impl->AddPages(registry, callbacks);
  impl->daemon = MHD_start_daemon(
      MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, /*port=*/0, nullptr, nullptr,
      &Impl::Handle, impl, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, kMaxOfLibrary,
      MHD_OPTION_CONNECTION_MEMORY_LIMIT, kConnectionMemory, MHD_OPTION_NOTIFY_COMPLETED,
      &Impl::OnCompleted, impl, MHD_OPTION_NOTIFY_CONNECTION, &Impl::OnConnection, impl,
      MHD_OPTION_END);
  if (impl->daemon == nullptr) {
    close(fd);
    return absl::ResourceExhaustedError(
        absl::StrCat("HTTP server on ", listen,
                     ": expected a thread and an epoll descriptor, found none; raise the limits on "
                     "processes and open files"));
  }
  impl->watcher = std::thread([impl] { impl->Watch(); });
  return host;
}

}  // namespace cohort
