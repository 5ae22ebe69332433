#include "common/rank_store/rank_store_host.h"

#include <atomic>
#include <utility>

#include "absl/time/clock.h"
#include "cohort/v1/store.grpc.pb.h"
#include "common/base/host_port.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/rpc/grpc_status.h"

namespace cohort {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(100);
constexpr absl::Duration kGoodbye = absl::Seconds(3);
constexpr absl::Duration kListenAgain = absl::Seconds(1);
constexpr absl::Duration kSayEvery = absl::Seconds(5);

// An answer that comes later, perhaps from another thread. Deletes itself.
class LateAnswer final : public grpc::ServerUnaryReactor {
 public:
  explicit LateAnswer(RankStore* store) : store_(*store) {}
  void Pending(uint64_t id) { id_.store(id); }
  void OnCancel() override { store_.Cancel(id_.load()); }
  void OnDone() override { delete this; }

 private:
  RankStore& store_;
  std::atomic<uint64_t> id_{0};  // 0: answered already
};

grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

template <typename Value, typename Reply>
grpc::ServerUnaryReactor* AnswerValue(grpc::CallbackServerContext* context,
                                      const absl::StatusOr<Value>& value, Reply* reply) {
  if (value.ok()) reply->set_value(*value);
  return Answer(context, value.status());
}

template <typename Message>
grpc::ServerUnaryReactor* AnswerMessage(grpc::CallbackServerContext* context,
                                        absl::StatusOr<Message> message, Message* reply) {
  if (message.ok()) *reply = *std::move(message);
  return Answer(context, message.status());
}

}  // namespace

class RankStoreHost::Service final : public v1::RankStore::CallbackService {
 public:
  Service(cohort::RankStore* store, std::shared_ptr<const Security> security)
      : store_(*store), security_(std::move(security)) {}

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;

  Reactor* Join(Context* context, const v1::StoreJoin* request, v1::StoreJoined* reply) override {
    return Allowed(context, [&] { return AnswerMessage(context, store_.Join(*request), reply); });
  }
  Reactor* Set(Context* context, const v1::StoreSet* request, v1::StoreEmpty*) override {
    return Allowed(context, [&] { return Answer(context, store_.Set(*request)); });
  }
  Reactor* CompareSet(Context* context, const v1::StoreCompareSet* request,
                      v1::StoreValue* reply) override {
    return Allowed(context,
                   [&] { return AnswerMessage(context, store_.CompareSet(*request), reply); });
  }
  Reactor* Check(Context* context, const v1::StoreKeys* request, v1::StoreFlag* reply) override {
    return Allowed(context, [&] { return AnswerValue(context, store_.Check(*request), reply); });
  }
  Reactor* Add(Context* context, const v1::StoreAdd* request, v1::StoreCount* reply) override {
    return Allowed(context, [&] { return AnswerValue(context, store_.Add(*request), reply); });
  }
  Reactor* Delete(Context* context, const v1::StoreKeys* request, v1::StoreFlag* reply) override {
    return Allowed(context, [&] { return AnswerValue(context, store_.Delete(*request), reply); });
  }
  Reactor* Count(Context* context, const v1::StoreKeys* request, v1::StoreCount* reply) override {
    return Allowed(context, [&] { return AnswerValue(context, store_.Count(*request), reply); });
  }
  Reactor* Get(Context* context, const v1::StoreKeys* request, v1::StoreValue* reply) override {
    return Allowed(context, [&] {
      return Late([&](LateAnswer* reactor) {
        return store_.Wait(*request, [reactor, reply](absl::StatusOr<v1::StoreValue> value) {
          if (value.ok()) *reply = *std::move(value);
          reactor->Finish(ToGrpc(value.status()));
        });
      });
    });
  }
  Reactor* Wait(Context* context, const v1::StoreKeys* request, v1::StoreEmpty*) override {
    return Allowed(context, [&] {
      return Late([&](LateAnswer* reactor) {
        return store_.Wait(*request, [reactor](const absl::StatusOr<v1::StoreValue>& value) {
          reactor->Finish(ToGrpc(value.status()));
        });
      });
    });
  }
  Reactor* Beat(Context* context, const v1::StoreBeat* request,
                v1::StoreBeatReply* reply) override {
    return Allowed(context, [&] {
      return Late([&](LateAnswer* reactor) {
        return store_.Beat(*request, [reactor, reply](absl::StatusOr<v1::StoreBeatReply> answer) {
          if (answer.ok()) *reply = *std::move(answer);
          reactor->Finish(ToGrpc(answer.status()));
        });
      });
    });
  }

 private:
  template <typename Handle>
  Reactor* Allowed(Context* context, const Handle& handle) {
    const absl::Status allowed = AuthorizeCall(security_.get(), *context, {Role::kLearner});
    return allowed.ok() ? handle() : Answer(context, allowed);
  }
  template <typename Start>
  Reactor* Late(const Start& start) {
    auto* reactor = new LateAnswer(&store_);
    reactor->Pending(start(reactor));
    return reactor;
  }

  cohort::RankStore& store_;
  const std::shared_ptr<const Security> security_;
};

RankStoreHost::RankStoreHost(const Options& options)
    : store_(options.store), service_(std::make_unique<Service>(&store_, options.security)) {}

absl::StatusOr<std::unique_ptr<RankStoreHost>> RankStoreHost::Start(const Options& options) {
  std::unique_ptr<RankStoreHost> host(new RankStoreHost(options));
  COHORT_RETURN_IF_ERROR(host->Listen(options));
  host->clock_ = std::thread([self = host.get()] {
    while (!self->stop_.WaitFor(kTick)) self->store_.Tick();
  });
  return host;
}

absl::Status RankStoreHost::Listen(const Options& options) {
  COHORT_ASSIGN_OR_RETURN(const HostPort where, ParseHostPort(options.listen));
  ServerHost::Options server;
  server.listen = options.listen;
  server.services = {service_.get()};
  server.security = options.security;
  const absl::Time deadline = absl::Now() + options.patience;
  absl::Time say = absl::Now();
  while (true) {
    absl::StatusOr<std::unique_ptr<ServerHost>> started = ServerHost::Start(server);
    if (started.ok()) {
      server_ = *std::move(started);
      return absl::OkStatus();
    }
    const bool later = !IsIpAddress(where.host) && absl::IsInvalidArgument(started.status());
    if (!later || absl::Now() + kListenAgain > deadline) return started.status();
    if (absl::Now() >= say) {
      COHORT_LOG(INFO) << "the ranks' store tries again: " << started.status().message();
      say = absl::Now() + kSayEvery;
    }
    stop_.WaitFor(kListenAgain);
  }
}

RankStoreHost::~RankStoreHost() {
  const absl::Time deadline = absl::Now() + kGoodbye;
  while (server_ != nullptr && !store_.OthersLeft() && absl::Now() < deadline) {
    stop_.WaitFor(kTick);
  }
  store_.Abort("rank 0 has ended");
  stop_.Stop();
  if (clock_.joinable()) clock_.join();
  if (server_ != nullptr) server_->Shutdown(absl::Seconds(1));
}

}  // namespace cohort
