// c10d behind Collective: the ranks' store where they meet, Gloo for tensors in main memory and, in
// the CUDA build, NCCL for tensors on GPUs.
#include <ATen/ATen.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/host_port.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/collective/collective.h"
#include "common/collective/network.h"
#include "common/collective/session_store.h"
#include "common/rank_store/rank_session.h"
#include "common/rank_store/rank_store_host.h"

namespace cohort {
namespace {

// Gloo reports its own time-out with the better message, so it gets the first chance.
constexpr absl::Duration kGrace = absl::Seconds(2);

// How soon a waiting operation notices that all ranks must end. (Closing Gloo's connections under a
// running operation would be quicker and is not safe.)
constexpr absl::Duration kPoll = absl::Milliseconds(100);
// Gloo sees a broken connection a little before the store knows whose it was.
constexpr absl::Duration kWhoWasIt = absl::Milliseconds(1500);
// However short the time-out: a busy machine may be silent for a while.
constexpr absl::Duration kLeastPatience = absl::Seconds(10);

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

absl::Status FailedOperation(absl::string_view what, int rank, const std::string& reason) {
  const std::string line = FirstLine(reason);
  const std::string message = absl::StrCat("collective ", what, " on rank ", rank, ": ", line);
  const std::string lower = absl::AsciiStrToLower(line);
  const bool timeout = absl::StrContains(lower, "timed out") || absl::StrContains(lower, "timeout");
  return timeout ? absl::DeadlineExceededError(message) : absl::UnavailableError(message);
}

std::string StoreAddress(const C10dOptions& options) {
  const bool v6 = absl::StrContains(options.store_host, ':');
  return absl::StrCat(v6 ? "[" : "", options.store_host, v6 ? "]" : "", ":", options.store_port);
}

class C10dCollective final : public Collective {
 public:
  explicit C10dCollective(const C10dOptions& options) : options_(options) {}
  ~C10dCollective() override;

  absl::Status Meet();
  void Connect();  // throws

  int rank() const override { return options_.rank; }
  int world_size() const override { return options_.world_size; }
  absl::Status AllReduceSum(at::Tensor& tensor, absl::string_view what) override;
  absl::Status Broadcast(at::Tensor& tensor, int root, absl::string_view what) override;
  absl::Status Barrier(absl::string_view what) override;
  void Abort() override;
  absl::Status RanksAlive() const override;
  absl::Status Ended() const override;
  std::vector<absl::Duration> Silences() const override;

 private:
  c10d::Backend& BackendOf(const at::Tensor& tensor);
  template <typename Start>
  absl::Status Run(absl::string_view kind, absl::string_view what, const Start& start);
  absl::Status Fail(absl::string_view what, const std::string& reason);
  absl::Status Await(absl::string_view what, const c10::intrusive_ptr<c10d::Work>& work);
  bool Aborted() {
    absl::MutexLock lock(&mu_);
    return aborted_;
  }

  const C10dOptions options_;
  std::unique_ptr<RankStoreHost> host_;  // rank 0
  std::shared_ptr<RankSession> session_;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo_;
#ifdef USE_C10D_NCCL
  c10::intrusive_ptr<c10d::ProcessGroupNCCL> nccl_;
#endif
  bool pending_ = false;  // an operation was given up: its worker thread cannot be joined
  absl::Mutex mu_;
  bool aborted_ ABSL_GUARDED_BY(mu_) = false;
  std::string failed_ ABSL_GUARDED_BY(mu_);  // the first operation that went wrong
};

std::chrono::milliseconds Milliseconds(absl::Duration duration) {
  return absl::ToChronoMilliseconds(duration);
}

absl::Status C10dCollective::Meet() {
  const std::string address = StoreAddress(options_);
  if (options_.rank == 0) {
    RankStoreHost::Options host;
    host.listen = address;
    host.security = options_.security;
    host.store.world = options_.world_size;
    host.store.run_hash = options_.run_hash;
    host.store.silence = options_.silence;
    host.store.patience = std::max(options_.timeout, kLeastPatience);
    COHORT_ASSIGN_OR_RETURN(host_, RankStoreHost::Start(host));
  }
  RankSession::Options session;
  session.rank = options_.rank;
  session.world = options_.world_size;
  session.store = address;
  session.run_hash = options_.run_hash;
  session.timeout = options_.timeout;
  session.patience = std::max(options_.timeout, kLeastPatience);
  session.silence = options_.silence;
  session.waits_for = options_.waits_for;
  session.connect = [this, address]() -> absl::StatusOr<std::unique_ptr<StoreCalls>> {
    if (host_ != nullptr) return LocalStoreCalls(&host_->store());
    return RemoteStoreCalls(address, options_.security);
  };
  COHORT_ASSIGN_OR_RETURN(session_, RankSession::Meet(session));
  return absl::OkStatus();
}

void C10dCollective::Connect() {
  const auto store = c10::make_intrusive<SessionStore>(session_, Milliseconds(options_.timeout));
  auto gloo_options = c10d::ProcessGroupGloo::Options::create(Milliseconds(options_.timeout));
  gloo_options->devices.push_back(
      options_.interface.empty()
          ? c10d::ProcessGroupGloo::createDeviceForHostname(
                LocalAddressTowards(options_.store_host, options_.store_port))
          : c10d::ProcessGroupGloo::createDeviceForInterface(options_.interface));
  gloo_options->threads = 1;
  gloo_ = c10::make_intrusive<c10d::ProcessGroupGloo>(store, options_.rank, options_.world_size,
                                                      gloo_options);
#ifdef USE_C10D_NCCL
  if (options_.backend == "nccl") {
    auto nccl_options = c10d::ProcessGroupNCCL::Options::create();
    nccl_options->timeout = Milliseconds(options_.timeout);
    nccl_ = c10::make_intrusive<c10d::ProcessGroupNCCL>(store, options_.rank, options_.world_size,
                                                        nccl_options);
  }
#endif
}

C10dCollective::~C10dCollective() {
  if (session_ != nullptr) session_->Leave();
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
    std::string reason = session_->ended();
    if (Aborted()) {
      reason = "aborted";
    } else if (!reason.empty()) {
      // Some rank will not take part any more.
    } else if (absl::Now() > deadline) {
      reason = absl::StrCat("timed out after ", absl::FormatDuration(options_.timeout));
    } else {
      continue;
    }
    pending_ = true;
    return Fail(what, reason);
  }
  work->wait();  // done: rethrows its error, and orders GPU streams
  return absl::OkStatus();
}

// Which rank it was says more than what Gloo or NCCL found.
absl::Status C10dCollective::Fail(absl::string_view what, const std::string& reason) {
  std::string why = session_->ended();
  if (why.empty() && !Aborted()) why = session_->Trouble(kWhoWasIt);
  const absl::Status status =
      FailedOperation(what, rank(), why.empty() ? reason : absl::StrCat(FirstLine(why)));
  absl::MutexLock lock(&mu_);
  if (failed_.empty()) failed_ = why.empty() ? std::string(status.message()) : why;
  return status;
}

template <typename Start>
absl::Status C10dCollective::Run(absl::string_view kind, absl::string_view what,
                                 const Start& start) {
  if (Aborted()) return FailedOperation(what, rank(), "aborted");
  // Or it could complete an operation that another rank has given up.
  if (const std::string ended = session_->ended(); !ended.empty()) return Fail(what, ended);
  session_->Doing(absl::StrCat(kind, " of ", what));
  try {
    const absl::Status status = Await(what, start());
    if (status.ok()) session_->Doing(absl::StrCat("what follows the ", kind, " of ", what));
    return status;
  } catch (const std::exception& error) {
    pending_ = true;  // perhaps: the store may have failed while the operation still runs
    return Fail(what, error.what());
  }
}

absl::Status C10dCollective::AllReduceSum(at::Tensor& tensor, absl::string_view what) {
  return Run("all-reduce", what, [&] {
    std::vector<at::Tensor> tensors = {tensor};
    return BackendOf(tensor).allreduce(tensors, c10d::AllreduceOptions());
  });
}

absl::Status C10dCollective::Broadcast(at::Tensor& tensor, int root, absl::string_view what) {
  return Run("broadcast", what, [&] {
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
  std::string reason;
  {
    absl::MutexLock lock(&mu_);
    if (aborted_) return;
    aborted_ = true;
    reason = failed_.empty() ? absl::StrCat("rank ", rank(), " aborted") : failed_;
  }
  COHORT_LOG(WARNING) << "collective aborted on rank " << rank();
  session_->Abort(reason);
#ifdef USE_C10D_NCCL
  try {
    if (nccl_) nccl_->abort();
  } catch (const std::exception& error) {
    COHORT_LOG(WARNING) << "abort of the collective: " << FirstLine(error.what());
  }
#endif
}

absl::Status C10dCollective::RanksAlive() const {
  if (host_ != nullptr) return host_->store().RanksAlive();
  const std::string trouble = session_->Trouble(absl::ZeroDuration());
  return trouble.empty() ? absl::OkStatus() : absl::UnavailableError(trouble);
}

absl::Status C10dCollective::Ended() const {
  const std::string why = session_->ended();
  return why.empty() ? absl::OkStatus() : absl::UnavailableError(why);
}

std::vector<absl::Duration> C10dCollective::Silences() const {
  return host_ != nullptr ? host_->store().Silences() : std::vector<absl::Duration>();
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
  return options.interface.empty() ? absl::OkStatus() : CheckInterface(options.interface);
}

// What NCCL reads when it starts. The user's own settings stay.
void SetNcclEnvironment(const C10dOptions& options) {
  // Errors and time-outs reach the caller as exceptions instead of ending the process.
  setenv("TORCH_NCCL_BLOCKING_WAIT", "1", /*overwrite=*/0);
  setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0", /*overwrite=*/0);
  if (options.interface.empty()) return;
  // "=": this name and not all that begin with it.
  setenv("NCCL_SOCKET_IFNAME", absl::StrCat("=", options.interface).c_str(), /*overwrite=*/0);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Collective>> MakeC10dCollective(const C10dOptions& options) {
  COHORT_RETURN_IF_ERROR(CheckOptions(options));
  SetNcclEnvironment(options);
  // Gloo writes to sockets whose peer may be dead; that is an error here, not the process's end.
  std::signal(SIGPIPE, SIG_IGN);
  auto collective = std::make_unique<C10dCollective>(options);
  const std::string start =
      absl::StrCat("start (", options.world_size, " ranks, store ", StoreAddress(options), ")");
  if (const absl::Status met = collective->Meet(); !met.ok()) {
    return absl::Status(met.code(), absl::StrCat("collective ", start, " on rank ", options.rank,
                                                 ": ", std::string(met.message())));
  }
  try {
    collective->Connect();
  } catch (const std::exception& error) {
    return FailedOperation(start, options.rank, error.what());
  }
  return std::unique_ptr<Collective>(std::move(collective));
}

absl::StatusOr<std::unique_ptr<Collective>> MeetRanks(C10dOptions options,
                                                      const std::string& store) {
  if (options.rank < 0 || options.rank >= options.world_size) {
    return absl::InvalidArgumentError(absl::StrCat("--rank: expected 0 to ", options.world_size - 1,
                                                   " (--world - 1), found ", options.rank));
  }
  if (options.world_size == 1) return MakeLocalCollective();
  const absl::StatusOr<HostPort> where = ParseHostPort(store);
  if (!where.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--store, where the ", options.world_size,
                     " ranks meet: ", std::string(where.status().message())));
  }
  options.store_host = where->host;
  options.store_port = where->port;
  COHORT_ASSIGN_OR_RETURN(std::unique_ptr<Collective> collective, MakeC10dCollective(options));
  COHORT_LOG(INFO) << "rank " << options.rank << " of " << options.world_size << " met the others";
  return collective;
}

}  // namespace cohort
