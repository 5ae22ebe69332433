// c10d behind Collective: a TCPStore where ranks meet, Gloo for tensors in main memory and, in the
// CUDA build, NCCL for tensors on GPUs.
#include <ATen/ATen.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/collective/collective.h"

namespace cohort {
namespace {

// Gloo reports its own time-out with the better message, so it gets the first chance.
constexpr absl::Duration kGrace = absl::Seconds(2);

// A rank that aborts sets this key; ranks that wait look for it. (Closing Gloo's connections under
// a running operation would be quicker and is not safe.)
constexpr char kAbortKey[] = "cohort/abort";
constexpr absl::Duration kPoll = absl::Milliseconds(250);

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

absl::Status FailedOperation(absl::string_view what, int rank, const std::string& reason) {
  const std::string line = FirstLine(reason);
  const std::string message = absl::StrCat("collective ", what, " on rank ", rank, ": ", line);
  const std::string lower = absl::AsciiStrToLower(line);
  const bool timeout = absl::StrContains(lower, "timed out") || absl::StrContains(lower, "timeout");
  return timeout ? absl::DeadlineExceededError(message) : absl::UnavailableError(message);
}

// The address of this machine that the store's host can reach: ranks listen there, not on every
// interface. Connecting a datagram socket sends nothing; it only asks the routing table.
std::string LocalAddressTowards(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return host;
  std::string address = host;
  const int fd = socket(found->ai_family, SOCK_DGRAM, 0);
  if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) == 0) {
    sockaddr_storage local{};
    socklen_t size = sizeof(local);
    char text[NI_MAXHOST];
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&local), &size) == 0 &&
        getnameinfo(reinterpret_cast<sockaddr*>(&local), size, text, sizeof(text), nullptr, 0,
                    NI_NUMERICHOST) == 0) {
      address = text;
    }
  }
  if (fd >= 0) close(fd);
  freeaddrinfo(found);
  return address;
}

class C10dCollective final : public Collective {
 public:
  explicit C10dCollective(const C10dOptions& options) : options_(options) {}
  ~C10dCollective() override;

  void Connect();  // throws

  int rank() const override { return options_.rank; }
  int world_size() const override { return options_.world_size; }
  absl::Status AllReduceSum(at::Tensor& tensor, absl::string_view what) override;
  absl::Status Broadcast(at::Tensor& tensor, int root, absl::string_view what) override;
  absl::Status Barrier(absl::string_view what) override;
  void Abort() override;

 private:
  c10d::Backend& BackendOf(const at::Tensor& tensor);
  template <typename Start>
  absl::Status Run(absl::string_view what, const Start& start);
  absl::Status Await(absl::string_view what, const c10::intrusive_ptr<c10d::Work>& work);
  bool Aborted() {
    absl::MutexLock lock(&mu_);
    return aborted_;
  }

  const C10dOptions options_;
  c10::intrusive_ptr<c10d::Store> store_;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo_;
#ifdef USE_C10D_NCCL
  c10::intrusive_ptr<c10d::ProcessGroupNCCL> nccl_;
#endif
  bool pending_ = false;  // an operation was given up: its worker thread cannot be joined
  absl::Mutex mu_;
  bool aborted_ ABSL_GUARDED_BY(mu_) = false;
};

std::chrono::milliseconds Milliseconds(absl::Duration duration) {
  return absl::ToChronoMilliseconds(duration);
}

void C10dCollective::Connect() {
  c10d::TCPStoreOptions store_options;
  store_options.port = static_cast<uint16_t>(options_.store_port);
  store_options.isServer = options_.rank == 0;
  store_options.numWorkers = static_cast<size_t>(options_.world_size);
  store_options.waitWorkers = true;
  store_options.timeout = Milliseconds(options_.timeout);
  store_ = c10::make_intrusive<c10d::TCPStore>(options_.store_host, store_options);

  auto gloo_options = c10d::ProcessGroupGloo::Options::create(Milliseconds(options_.timeout));
  gloo_options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(
      LocalAddressTowards(options_.store_host, options_.store_port)));
  gloo_options->threads = 1;
  gloo_ = c10::make_intrusive<c10d::ProcessGroupGloo>(store_, options_.rank, options_.world_size,
                                                      gloo_options);
#ifdef USE_C10D_NCCL
  if (options_.backend == "nccl") {
    auto nccl_options = c10d::ProcessGroupNCCL::Options::create();
    nccl_options->timeout = Milliseconds(options_.timeout);
    nccl_ = c10::make_intrusive<c10d::ProcessGroupNCCL>(store_, options_.rank, options_.world_size,
                                                        nccl_options);
  }
#endif
}

C10dCollective::~C10dCollective() {
  if (!pending_) return;
  // The destructor would wait for the operation that never ends; the process is about to go.
  (void)gloo_.release();
#ifdef USE_C10D_NCCL
  if (nccl_) (void)nccl_.release();
#endif
}

c10d::Backend& C10dCollective::BackendOf(const at::Tensor& tensor) {
#ifdef USE_C10D_NCCL
  if (tensor.is_cuda() && nccl_) return *nccl_;
#endif
  (void)tensor;
  return *gloo_;
}

absl::Status C10dCollective::Await(absl::string_view what,
                                   const c10::intrusive_ptr<c10d::Work>& work) {
  struct State {
    absl::Mutex mu;
    bool done ABSL_GUARDED_BY(mu) = false;
  };
  auto state = std::make_shared<State>();
  work->getFuture()->addCallback([state](c10::ivalue::Future&) {
    absl::MutexLock lock(&state->mu);
    state->done = true;
  });
  const absl::Time deadline = absl::Now() + options_.timeout + kGrace;
  const auto done = [&] {
    absl::MutexLock lock(&state->mu);
    return state->mu.AwaitWithTimeout(absl::Condition(&state->done), kPoll);
  };
  while (!done()) {
    std::string reason;
    if (Aborted()) {
      reason = "aborted";
    } else if (store_->check({kAbortKey})) {
      reason = "another rank aborted";
    } else if (absl::Now() > deadline) {
      reason = absl::StrCat("timed out after ", absl::FormatDuration(options_.timeout));
    } else {
      continue;
    }
    pending_ = true;
    return FailedOperation(what, rank(), reason);
  }
  work->wait();  // done: rethrows its error, and orders GPU streams
  return absl::OkStatus();
}

template <typename Start>
absl::Status C10dCollective::Run(absl::string_view what, const Start& start) {
  if (Aborted()) return FailedOperation(what, rank(), "aborted");
  try {
    // Or it could complete an operation that another rank has given up.
    if (store_->check({kAbortKey})) return FailedOperation(what, rank(), "another rank aborted");
    return Await(what, start());
  } catch (const std::exception& error) {
    pending_ = true;  // perhaps: the store may have failed while the operation still runs
    return FailedOperation(what, rank(), error.what());
  }
}

absl::Status C10dCollective::AllReduceSum(at::Tensor& tensor, absl::string_view what) {
  return Run(what, [&] {
    std::vector<at::Tensor> tensors = {tensor};
    return BackendOf(tensor).allreduce(tensors, c10d::AllreduceOptions());
  });
}

absl::Status C10dCollective::Broadcast(at::Tensor& tensor, int root, absl::string_view what) {
  return Run(what, [&] {
    std::vector<at::Tensor> tensors = {tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    return BackendOf(tensor).broadcast(tensors, options);
  });
}

absl::Status C10dCollective::Barrier(absl::string_view what) {
  at::Tensor token = at::zeros({1}, at::kLong);
  return AllReduceSum(token, what);
}

void C10dCollective::Abort() {
  {
    absl::MutexLock lock(&mu_);
    if (aborted_) return;
    aborted_ = true;
  }
  COHORT_LOG(WARNING) << "collective aborted on rank " << rank();
  try {
    store_->set(kAbortKey, std::vector<uint8_t>{1});
#ifdef USE_C10D_NCCL
    if (nccl_) nccl_->abort();
#endif
  } catch (const std::exception& error) {
    COHORT_LOG(WARNING) << "abort of the collective: " << FirstLine(error.what());
  }
}

absl::Status CheckOptions(const C10dOptions& options) {
  if (options.world_size < 1 || options.rank < 0 || options.rank >= options.world_size) {
    return absl::InvalidArgumentError(absl::StrCat("rank must be in 0..world-1, found rank ",
                                                   options.rank, " of world ", options.world_size));
  }
  if (options.store_host.empty() || options.store_port < 1 || options.store_port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("the ranks need a store to meet at as HOST:PORT, found \"", options.store_host,
                     ":", options.store_port, "\""));
  }
#ifdef USE_C10D_NCCL
  const bool known = options.backend == "gloo" || options.backend == "nccl";
#else
  const bool known = options.backend == "gloo";
#endif
  if (!known) {
    return absl::InvalidArgumentError(
        absl::StrCat("collective backend must be gloo (or nccl in the cuda build), found \"",
                     options.backend, "\""));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Collective>> MakeC10dCollective(const C10dOptions& options) {
  COHORT_RETURN_IF_ERROR(CheckOptions(options));
  // Errors and time-outs of NCCL reach the caller as exceptions instead of ending the process.
  setenv("TORCH_NCCL_BLOCKING_WAIT", "1", /*overwrite=*/0);
  setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0", /*overwrite=*/0);
  // Gloo writes to sockets whose peer may be dead; that is an error here, not the process's end.
  std::signal(SIGPIPE, SIG_IGN);
  auto collective = std::make_unique<C10dCollective>(options);
  try {
    collective->Connect();
  } catch (const std::exception& error) {
    return FailedOperation(absl::StrCat("start (", options.world_size, " ranks, store ",
                                        options.store_host, ":", options.store_port, ")"),
                           options.rank, error.what());
  }
  return std::unique_ptr<Collective>(std::move(collective));
}

}  // namespace cohort
