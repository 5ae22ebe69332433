#include "services/learner/session_service.h"

#include <utility>

#include "cohort/v1/session.grpc.pb.h"
#include "common/rpc/grpc_status.h"
#include "services/learner/session_hub.h"

namespace cohort {
namespace {

using RawSession = v1::Session::WithRawCallbackMethod_Connect<
    v1::Session::WithCallbackMethod_Status<v1::Session::Service>>;

class GrpcSession final : public RawSession {
 public:
  GrpcSession(SessionHub* hub, std::shared_ptr<const Security> security)
      : hub_(hub), security_(std::move(security)) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Connect(
      grpc::CallbackServerContext* context) override {
    const absl::Status may = AuthorizeCall(security_.get(), *context, {Role::kRollout});
    return may.ok() ? hub_->Accept(context) : RefuseStream(may);
  }
  grpc::ServerUnaryReactor* Status(grpc::CallbackServerContext* context, const v1::StatusRequest*,
                                   v1::StatusReply* reply) override {
    const absl::Status may =
        AuthorizeCall(security_.get(), *context, {Role::kCli, Role::kLearner, Role::kRollout});
    if (may.ok()) hub_->FillStatus(reply);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(ToGrpc(may));
    return reactor;
  }

 private:
  SessionHub* const hub_;
  const std::shared_ptr<const Security> security_;
};

}  // namespace

class SessionService::Impl {
 public:
  Impl(const Options& options, Dispatcher* dispatcher)
      : hub(std::make_shared<SessionHub>(options, dispatcher)), grpc(hub.get(), options.security) {
    hub->Start();
  }
  const std::shared_ptr<SessionHub> hub;  // shared with the dispatcher's listener, weakly
  GrpcSession grpc;
};

SessionService::SessionService(const Options& options, Dispatcher* dispatcher)
    : impl_(std::make_unique<Impl>(options, dispatcher)) {}
SessionService::~SessionService() { Shutdown(); }

grpc::Service* SessionService::grpc_service() { return &impl_->grpc; }
void SessionService::SetCurrentVersion(int64_t version) { impl_->hub->SetCurrentVersion(version); }
int SessionService::Drain(const std::string& reason, absl::Duration limit) {
  return impl_->hub->Drain(reason, limit);
}
void SessionService::Shutdown() { impl_->hub->Shutdown(); }
std::vector<v1::WorkerStatus> SessionService::Workers() const { return impl_->hub->Workers(); }
SessionCounters SessionService::counters() const { return impl_->hub->counters(); }
FleetSample SessionService::TakeFleetSample() { return impl_->hub->TakeFleetSample(); }

}  // namespace cohort
