#include "common/run_files/run_files_client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "cohort/v1/files.grpc.pb.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rpc/channel.h"
#include "common/rpc/grpc_status.h"
#include "common/wire/protocol.h"

namespace cohort {
namespace {

constexpr absl::Duration kDescribeLimit = absl::Seconds(20);
// A file may take this, and as long again as its bytes need at the slowest rate that is waited for.
constexpr absl::Duration kReadLimit = absl::Minutes(1);
constexpr double kSlowestBytesPerSecond = 1 << 20;
constexpr absl::Duration kSaySomething = absl::Seconds(5);
constexpr int kMaxDamagedReads = 3;

// What another attempt may mend. A full disk (ResourceExhausted) is not.
bool IsTransient(const absl::Status& status) {
  // Cancelled: by the learner, which ends or needed the place (our own stop is looked at before).
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsCancelled(status);
}

}  // namespace

// Decides whether a failed attempt is made again, and waits in between.
class RunFilesClient::Patience {
 public:
  Patience(const RunFilesClient& client, std::string what)
      : client_(client),
        what_(std::move(what)),
        backoff_({.initial = absl::Milliseconds(50), .limit = absl::Seconds(1)},
                 client.options_.seed) {}

  // Something came: the time without an answer begins anew.
  void Progress() { since_ = absl::Now(); }
  absl::Time deadline() const { return since_ + client_.options_.connect_limit; }

  // OK: try again. Otherwise why not.
  absl::Status Again(const absl::Status& failure) {
    if (client_.stop_.stopped()) return absl::CancelledError("stopped");
    if (!IsTransient(failure)) return failure;
    const absl::Duration waited = absl::Now() - since_;
    if (waited >= client_.options_.connect_limit) {
      return absl::DeadlineExceededError(
          absl::StrCat("no ", what_, " from the learner at ", client_.options_.learner, " after ",
                       absl::ToInt64Seconds(waited), " s: ", std::string(failure.message())));
    }
    if (absl::Now() - said_ >= kSaySomething) {
      said_ = absl::Now();
      COHORT_LOG(INFO) << "waiting for " << what_ << " from the learner at "
                       << client_.options_.learner << ": " << failure.message();
    }
    if (client_.stop_.WaitFor(backoff_.Next())) return absl::CancelledError("stopped");
    return absl::OkStatus();
  }

 private:
  const RunFilesClient& client_;
  const std::string what_;
  Backoff backoff_;
  absl::Time since_ = absl::Now();
  absl::Time said_ = absl::Now();
};

RunFilesClient::RunFilesClient(const Options& options)
    : options_(options),
      channel_(MakeChannel(options.learner, options.security.get(), Role::kLearner)),
      generation_(options.security == nullptr ? 0 : options.security->generation()) {}
RunFilesClient::~RunFilesClient() = default;

void RunFilesClient::Stop() {
  stop_.Stop();
  absl::MutexLock lock(&mu_);
  if (running_ != nullptr) running_->TryCancel();
}

// A renewed certificate needs another channel. Only after Describe found that there may be one.
std::shared_ptr<grpc::Channel> RunFilesClient::Channel() {
  const uint64_t generation = options_.security == nullptr ? 0 : options_.security->generation();
  if (generation != generation_) {
    generation_ = generation;
    absl::StatusOr<std::shared_ptr<grpc::Channel>> renewed =
        MakeChannel(options_.learner, options_.security.get(), Role::kLearner);
    if (renewed.ok()) channel_ = std::move(renewed);
  }
  return *channel_;
}

void RunFilesClient::Begin(grpc::ClientContext* context) {
  absl::MutexLock lock(&mu_);
  running_ = context;
  if (stop_.stopped()) context->TryCancel();
}

void RunFilesClient::End() {
  absl::MutexLock lock(&mu_);
  running_ = nullptr;
}

// ---- what the run is ----

absl::StatusOr<FetchPlan> RunFilesClient::Describe() {
  COHORT_RETURN_IF_ERROR(channel_.status());
  Patience patience(*this, "a description of the run");
  v1::DescribeReply reply;
  for (;;) {
    COHORT_RETURN_IF_ERROR(WaitForPeer([this] { return Channel(); }, "learner", options_.learner,
                                       patience.deadline(), stop_));
    const absl::Status status = DescribeOnce(&reply);
    if (status.ok()) break;
    COHORT_RETURN_IF_ERROR(patience.Again(status));
  }
  absl::StatusOr<FetchPlan> plan = ParseDescription(reply);
  if (plan.ok()) return plan;
  return absl::InvalidArgumentError(absl::StrCat("learner at ", options_.learner, ": ",
                                                 std::string(plan.status().message()),
                                                 "; use the same release on both sides"));
}

absl::Status RunFilesClient::DescribeOnce(v1::DescribeReply* reply) {
  grpc::ClientContext context;
  if (options_.security != nullptr) options_.security->Prepare(&context);
  context.set_deadline(absl::ToChronoTime(absl::Now() + kDescribeLimit));
  v1::DescribeRequest request;
  request.set_protocol_version(kProtocolVersion);
  request.set_worker_id(options_.worker_id);
  Begin(&context);
  const grpc::Status status = v1::RunFiles::NewStub(Channel())->Describe(&context, request, reply);
  End();
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
    return absl::FailedPreconditionError(
        absl::StrCat("the learner at ", options_.learner, " does not hand out its configuration; ",
                     "use the same release on both sides, or start this worker with --config"));
  }
  return FromGrpc(status);
}

// ---- its files ----

absl::Status RunFilesClient::Fetch(const std::vector<v1::RunFile>& files, FileCache* cache) {
  while (true) {
    disk_failed_ = false;
    const absl::Status status = FetchAll(files, *cache);
    if (!disk_failed_) return status;
    COHORT_RETURN_IF_ERROR(cache->FallBack(status));
  }
}

absl::Status RunFilesClient::FetchAll(const std::vector<v1::RunFile>& files,
                                      const FileCache& cache) {
  const absl::Time start = absl::Now();
  std::set<std::string> here;
  uint64_t fetched = 0, bytes = 0;
  for (const v1::RunFile& file : files) {
    if (!here.insert(file.sha256()).second || cache.Has(file)) continue;
    COHORT_RETURN_IF_ERROR(FetchFile(file, cache));
    ++fetched;
    bytes += file.size();
  }
  COHORT_LOG(INFO) << absl::StrFormat(
      "fetched %d of the run's %d files, %.1f MB, in %.2f s; cache %s", fetched, here.size(),
      static_cast<double>(bytes) / 1e6, absl::ToDoubleSeconds(absl::Now() - start), cache.folder());
  return absl::OkStatus();
}

absl::Status RunFilesClient::FetchFile(const v1::RunFile& file, const FileCache& cache) {
  Patience patience(*this, absl::StrCat("the file ", file.name()));
  for (int damaged = 0;;) {
    COHORT_RETURN_IF_ERROR(WaitForPeer([this] { return Channel(); }, "learner", options_.learner,
                                       patience.deadline(), stop_));
    const absl::Status status = ReadOnce(file, cache, &patience);
    if (status.ok()) return status;
    if (absl::IsDataLoss(status) && ++damaged < kMaxDamagedReads) {
      COHORT_LOG(WARNING) << status.message() << "; fetched again";
      continue;
    }
    if (disk_failed_) return status;
    COHORT_RETURN_IF_ERROR(patience.Again(status));
  }
}

absl::Status RunFilesClient::ReadOnce(const v1::RunFile& file, const FileCache& cache,
                                      Patience* patience) {
  // Wrong content is the sender's fault, everything else the disk's.
  const auto note = [this](const absl::Status& status) {
    disk_failed_ = !status.ok() && !absl::IsDataLoss(status);
    return status;
  };
  absl::StatusOr<FileCache::Entry> entry = cache.NewEntry(file);
  COHORT_RETURN_IF_ERROR(note(entry.status()));
  const absl::Duration at_slowest =
      absl::Seconds(static_cast<double>(file.size()) / kSlowestBytesPerSecond);
  grpc::ClientContext context;
  if (options_.security != nullptr) options_.security->Prepare(&context);
  context.set_deadline(absl::ToChronoTime(absl::Now() + kReadLimit + at_slowest));
  v1::ReadRequest request;
  request.set_sha256(file.sha256());
  Begin(&context);
  const auto reader = v1::RunFiles::NewStub(Channel())->Read(&context, request);
  v1::FileChunk piece;
  absl::Status local;
  while (local.ok() && reader->Read(&piece)) {
    local = entry->Add(piece.payload());
    patience->Progress();
  }
  if (!local.ok()) context.TryCancel();
  const grpc::Status end = reader->Finish();
  End();
  if (!local.ok()) return note(local);
  if (end.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {  // it has many readers
    return absl::UnavailableError(end.error_message());
  }
  if (end.error_code() == grpc::StatusCode::NOT_FOUND) {
    return absl::AbortedError(absl::StrCat("the learner has no file ", file.name(), " any more"));
  }
  COHORT_RETURN_IF_ERROR(FromGrpc(end));
  return note(entry->Commit());
}

}  // namespace cohort
