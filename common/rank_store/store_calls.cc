#include "common/rank_store/store_calls.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "cohort/v1/store.grpc.pb.h"
#include "common/base/status_macros.h"
#include "common/rpc/channel.h"
#include "common/rpc/grpc_status.h"

namespace cohort {
namespace {

// A wait ends on the store's side; this much later the connection is given up.
constexpr absl::Duration kAnswerGrace = absl::Seconds(5);

class Local final : public StoreCalls {
 public:
  explicit Local(RankStore* store) : store_(*store) {}

  absl::StatusOr<v1::StoreJoined> Join(const v1::StoreJoin& request, absl::Duration) override {
    return store_.Join(request);
  }
  absl::Status Set(const v1::StoreSet& request, absl::Duration) override {
    return store_.Set(request);
  }
  absl::StatusOr<v1::StoreValue> CompareSet(const v1::StoreCompareSet& request,
                                            absl::Duration) override {
    return store_.CompareSet(request);
  }
  absl::StatusOr<v1::StoreValue> Get(const v1::StoreKeys& request) override {
    return Awaited<v1::StoreValue>(
        [&](RankStore::ValueDone done) { store_.Wait(request, std::move(done)); });
  }
  absl::Status Wait(const v1::StoreKeys& request) override { return Get(request).status(); }
  absl::StatusOr<bool> Check(const v1::StoreKeys& request, absl::Duration) override {
    return store_.Check(request);
  }
  absl::StatusOr<int64_t> Add(const v1::StoreAdd& request, absl::Duration) override {
    return store_.Add(request);
  }
  absl::StatusOr<bool> Delete(const v1::StoreKeys& request, absl::Duration) override {
    return store_.Delete(request);
  }
  absl::StatusOr<int64_t> Count(const v1::StoreKeys& request, absl::Duration) override {
    return store_.Count(request);
  }
  absl::StatusOr<v1::StoreBeatReply> Beat(const v1::StoreBeat& request, absl::Duration) override {
    return Awaited<v1::StoreBeatReply>(
        [&](RankStore::BeatDone done) { store_.Beat(request, std::move(done)); });
  }

 private:
  // The store answers every wait in time: when it is due, or when the store is closed.
  template <typename T, typename Start>
  absl::StatusOr<T> Awaited(const Start& start) {
    absl::Notification answered;
    absl::StatusOr<T> result = absl::UnknownError("");
    start([&](absl::StatusOr<T> answer) {
      result = std::move(answer);
      answered.Notify();
    });
    answered.WaitForNotification();
    return result;
  }

  RankStore& store_;
};

grpc::ChannelArguments Arguments() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);  // time of one attempt to connect
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, 1000);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // No pings: the signs of life do their work, and a rank 0 that only stands still for a while must
  // not look like one whose connection broke.
  return arguments;
}

class Remote final : public StoreCalls {
 public:
  Remote(const std::string& address, std::shared_ptr<const Security> security)
      : address_(address),
        security_(std::move(security)),
        stub_(v1::RankStore::NewStub(
            grpc::CreateCustomChannel(address,
                                      security_ != nullptr ? security_->channel(Role::kLearner)
                                                           : grpc::InsecureChannelCredentials(),
                                      Arguments()))) {}

  absl::StatusOr<v1::StoreJoined> Join(const v1::StoreJoin& request,
                                       absl::Duration timeout) override {
    return Call<v1::StoreJoined>(&v1::RankStore::Stub::Join, request, timeout);
  }
  absl::Status Set(const v1::StoreSet& request, absl::Duration timeout) override {
    return Call<v1::StoreEmpty>(&v1::RankStore::Stub::Set, request, timeout).status();
  }
  absl::StatusOr<v1::StoreValue> CompareSet(const v1::StoreCompareSet& request,
                                            absl::Duration timeout) override {
    return Call<v1::StoreValue>(&v1::RankStore::Stub::CompareSet, request, timeout);
  }
  absl::StatusOr<v1::StoreValue> Get(const v1::StoreKeys& request) override {
    return Call<v1::StoreValue>(&v1::RankStore::Stub::Get, request, TimeOf(request));
  }
  absl::Status Wait(const v1::StoreKeys& request) override {
    return Call<v1::StoreEmpty>(&v1::RankStore::Stub::Wait, request, TimeOf(request)).status();
  }
  absl::StatusOr<bool> Check(const v1::StoreKeys& request, absl::Duration timeout) override {
    COHORT_ASSIGN_OR_RETURN(const v1::StoreFlag flag,
                            Call<v1::StoreFlag>(&v1::RankStore::Stub::Check, request, timeout));
    return flag.value();
  }
  absl::StatusOr<int64_t> Add(const v1::StoreAdd& request, absl::Duration timeout) override {
    COHORT_ASSIGN_OR_RETURN(const v1::StoreCount count,
                            Call<v1::StoreCount>(&v1::RankStore::Stub::Add, request, timeout));
    return count.value();
  }
  absl::StatusOr<bool> Delete(const v1::StoreKeys& request, absl::Duration timeout) override {
    COHORT_ASSIGN_OR_RETURN(const v1::StoreFlag flag,
                            Call<v1::StoreFlag>(&v1::RankStore::Stub::Delete, request, timeout));
    return flag.value();
  }
  absl::StatusOr<int64_t> Count(const v1::StoreKeys& request, absl::Duration timeout) override {
    COHORT_ASSIGN_OR_RETURN(const v1::StoreCount count,
                            Call<v1::StoreCount>(&v1::RankStore::Stub::Count, request, timeout));
    return count.value();
  }
  absl::StatusOr<v1::StoreBeatReply> Beat(const v1::StoreBeat& request,
                                          absl::Duration timeout) override {
    return Call<v1::StoreBeatReply>(&v1::RankStore::Stub::Beat, request, timeout);
  }

 private:
  static absl::Duration TimeOf(const v1::StoreKeys& request) {
    return absl::Seconds(request.timeout_seconds()) + kAnswerGrace;
  }

  template <typename Reply, typename Request>
  absl::StatusOr<Reply> Call(grpc::Status (v1::RankStore::Stub::*method)(grpc::ClientContext*,
                                                                         const Request&, Reply*),
                             const Request& request, absl::Duration timeout) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    if (security_ != nullptr) security_->Prepare(&context);
    Reply reply;
    const absl::Status status = FromGrpc((stub_.get()->*method)(&context, request, &reply));
    if (status.ok()) return reply;
    return absl::Status(status.code(), absl::StrCat("the ranks' store at ", address_, ": ",
                                                    std::string(status.message())));
  }

  const std::string address_;
  const std::shared_ptr<const Security> security_;
  const std::unique_ptr<v1::RankStore::Stub> stub_;
};

}  // namespace

std::unique_ptr<StoreCalls> LocalStoreCalls(RankStore* store) {
  return std::make_unique<Local>(store);
}

absl::StatusOr<std::unique_ptr<StoreCalls>> RemoteStoreCalls(
    const std::string& address, std::shared_ptr<const Security> security) {
  if (security != nullptr) COHORT_RETURN_IF_ERROR(security->CheckDial(address));
  SetUpRpc();
  return std::make_unique<Remote>(address, std::move(security));
}

}  // namespace cohort
