#include "common/run_files/run_files_service.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "cohort/v1/files.grpc.pb.h"
#include "common/base/log.h"
#include "common/concurrency/executor.h"
#include "common/rpc/channel.h"
#include "common/rpc/grpc_status.h"
#include "common/rpc/json.h"
#include "common/run_files/file_handle.h"
#include "common/run_files/listing.h"
#include "common/wire/protocol.h"

namespace cohort {
namespace {

constexpr int kThreads = 2;  // one may be hashing

absl::Status Changed(const ListedFile& listed) {
  return absl::FailedPreconditionError(
      absl::StrCat(listed.path,
                   " on the learner's host has changed since the learner started; "
                   "restart the learner with the files that it is to use"));
}

bool IsUnchanged(const FileHandle& handle, const ListedFile& listed) {
  const absl::StatusOr<FileStamp> stamp = StampOf(handle.fd(), listed.path);
  return stamp.ok() && *stamp == listed.stamp;
}

// A listed file, open and as it was when it was hashed.
absl::StatusOr<FileHandle> OpenListed(const ListedFile& listed) {
  absl::StatusOr<FileHandle> handle = FileHandle::OpenToRead(listed.path);
  if (!handle.ok() || !IsUnchanged(*handle, listed)) return Changed(listed);
  return handle;
}

class Reader;

// Shared by the calls, which may end after the service.
class Calls {
 public:
  explicit Calls(const RunFilesService::Options& options)
      : options_(options), executor_("files", kThreads) {}

  absl::Status Admit(Reader* reader);
  void Remove(Reader* reader) {
    absl::MutexLock lock(&mu_);
    readers_.erase(reader);
  }
  const StopToken& stop() const { return stop_; }
  bool Post(std::function<void()> task) { return executor_.Post(std::move(task)); }
  void Shutdown();

 private:
  const RunFilesService::Options options_;
  absl::Mutex mu_;
  std::set<Reader*> readers_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  StopToken stop_;
  Executor executor_;
};

// One Read call: read a piece, send it, and only then read the next one. Deletes itself.
class Reader final : public grpc::ServerWriteReactor<v1::FileChunk> {
 public:
  Reader(std::shared_ptr<Calls> calls, grpc::CallbackServerContext* context)
      : calls_(std::move(calls)), context_(context), progress_(absl::Now()) {}

  // Once, after it was admitted.
  void Serve(const ListedFile& listed) {
    listed_ = listed;
    PostNext();
  }
  void End(const absl::Status& status) { Finish(ToGrpc(status)); }
  // While it is in the list of calls.
  void Cancel() { context_->TryCancel(); }
  absl::Time progress() const {
    absl::MutexLock lock(&mu_);
    return progress_;
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return End(absl::CancelledError("the reader is gone"));
    {
      absl::MutexLock lock(&mu_);
      progress_ = absl::Now();
    }
    PostNext();
  }
  void OnDone() override {
    calls_->Remove(this);
    delete this;
  }

 private:
  void PostNext() {
    if (!calls_->Post([this] { SendNext(); })) {
      End(absl::UnavailableError("the learner shuts down"));
    }
  }

  void SendNext() {
    absl::Status status = ReadNext();
    if (!status.ok()) return End(status);
    if (piece_.payload().empty()) return End(absl::OkStatus());
    StartWrite(&piece_);
  }

  // Leaves piece_ empty at the end of the file.
  absl::Status ReadNext() {
    if (!handle_.has_value()) {
      absl::StatusOr<FileHandle> handle = OpenListed(listed_);
      if (!handle.ok()) return handle.status();
      handle_ = std::move(*handle);
    }
    std::string* bytes = piece_.mutable_payload();
    bytes->resize(std::min<uint64_t>(kMaxChunkBytes, listed_.stamp.size - offset_));
    const auto got = handle_->ReadAt(offset_, bytes->data(), bytes->size());
    if (!got.ok()) return got.status();
    offset_ += *got;
    const bool whole = offset_ == listed_.stamp.size;
    if (*got < bytes->size() || (whole && !IsUnchanged(*handle_, listed_))) return Changed(listed_);
    return absl::OkStatus();
  }

  const std::shared_ptr<Calls> calls_;
  grpc::CallbackServerContext* const context_;
  ListedFile listed_;
  std::optional<FileHandle> handle_;
  uint64_t offset_ = 0;
  v1::FileChunk piece_;
  mutable absl::Mutex mu_;
  absl::Time progress_ ABSL_GUARDED_BY(mu_);
};

absl::Status Calls::Admit(Reader* reader) {
  absl::MutexLock lock(&mu_);
  if (closed_) return absl::UnavailableError("the learner shuts down");
  if (readers_.size() >= static_cast<size_t>(options_.max_reads)) {
    const auto slowest = std::min_element(
        readers_.begin(), readers_.end(),
        [](const Reader* a, const Reader* b) { return a->progress() < b->progress(); });
    if (absl::Now() - (*slowest)->progress() < options_.stall_limit) {
      return absl::ResourceExhaustedError(absl::StrCat("the learner sends ", options_.max_reads,
                                                       " files at once already; ask again"));
    }
    (*slowest)->Cancel();
  }
  readers_.insert(reader);
  return absl::OkStatus();
}

void Calls::Shutdown() {
  stop_.Stop();  // the executor waits for what it has begun
  {
    absl::MutexLock lock(&mu_);
    closed_ = true;
    for (Reader* reader : readers_) reader->Cancel();
  }
  executor_.Stop();
}

}  // namespace

class RunFilesService::Impl final : public v1::RunFiles::CallbackService {
 public:
  Impl(const Options& options, const v1::RunConfig& config)
      : options_(options), config_(config), calls_(std::make_shared<Calls>(options)) {
    calls_->Post([this] { List(); });
  }

  grpc::ServerUnaryReactor* Describe(grpc::CallbackServerContext* context,
                                     const v1::DescribeRequest* request,
                                     v1::DescribeReply* reply) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const absl::Status may = Authorize(*context);
    reactor->Finish(ToGrpc(may.ok() ? Fill(*request, reply) : may));
    return reactor;
  }

  grpc::ServerWriteReactor<v1::FileChunk>* Read(grpc::CallbackServerContext* context,
                                                const v1::ReadRequest* request) override {
    auto* reader = new Reader(calls_, context);  // deletes itself in OnDone
    const absl::Status may = Authorize(*context);
    absl::StatusOr<ListedFile> listed = may.ok() ? Find(request->sha256()) : may;
    if (!listed.ok()) {
      reader->End(listed.status());
    } else if (absl::Status admitted = calls_->Admit(reader); !admitted.ok()) {
      reader->End(admitted);
    } else {
      reader->Serve(*listed);
    }
    return reader;
  }

  void Shutdown() { calls_->Shutdown(); }

 private:
  absl::Status Authorize(const grpc::CallbackServerContext& context) const {
    return AuthorizeCall(options_.security.get(), context, {Role::kRollout});
  }

  void List() {
    const absl::Time start = absl::Now();
    absl::StatusOr<std::vector<ListedFile>> files = ListRunFiles(config_, calls_->stop());
    if (!files.ok() && !absl::IsCancelled(files.status()))
      COHORT_LOG(WARNING) << "workers need --config: " << files.status().message();
    COHORT_LOG(DEBUG) << "hashed the workers' files in " << absl::Now() - start;
    absl::MutexLock lock(&mu_);
    if (files.ok()) {
      for (const ListedFile& listed : *files) by_hash_.emplace(listed.file.sha256(), listed);
    }
    files_ = std::move(files);
  }

  absl::Status Fill(const v1::DescribeRequest& request, v1::DescribeReply* reply) {
    if (request.protocol_version() != kProtocolVersion) {
      return absl::InvalidArgumentError(
          absl::StrCat("this learner speaks protocol version ", kProtocolVersion, ", the worker ",
                       request.protocol_version(), ": use the same release on both sides"));
    }
    absl::MutexLock lock(&mu_);
    if (!files_.has_value()) {
      return absl::UnavailableError("the learner still hashes the files of its models");
    }
    if (!files_->ok()) return files_->status();
    reply->set_resolved_config(MessageToSparseJson(config_));
    reply->set_model_sha256(options_.model_sha256);
    for (const ListedFile& listed : **files_) *reply->add_files() = listed.file;
    return absl::OkStatus();
  }

  absl::StatusOr<ListedFile> Find(const std::string& sha256) {
    absl::MutexLock lock(&mu_);
    const auto found = by_hash_.find(sha256);
    if (found == by_hash_.end()) {
      return absl::NotFoundError("no file of this run has that hash; ask for its description");
    }
    return found->second;
  }

  const Options options_;
  const v1::RunConfig config_;
  const std::shared_ptr<Calls> calls_;
  absl::Mutex mu_;
  // Absent: being hashed.
  std::optional<absl::StatusOr<std::vector<ListedFile>>> files_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, ListedFile> by_hash_ ABSL_GUARDED_BY(mu_);
};

RunFilesService::RunFilesService(const Options& options, const v1::RunConfig& config)
    : impl_(std::make_unique<Impl>(options, config)) {}
RunFilesService::~RunFilesService() { Shutdown(); }

grpc::Service* RunFilesService::grpc_service() { return impl_.get(); }
void RunFilesService::Shutdown() { impl_->Shutdown(); }

}  // namespace cohort
