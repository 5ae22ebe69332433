// Rank 0's store on its own listener, with the thread that keeps its time.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/concurrency/stop_token.h"
#include "common/rank_store/rank_store.h"
#include "common/rpc/security.h"
#include "common/rpc/server_host.h"

namespace cohort {

class RankStoreHost {
 public:
  struct Options {
    std::string listen;  // HOST:PORT; exactly that host
    RankStore::Options store;
    std::shared_ptr<const Security> security = nullptr;  // learners only; null: no checks
    // How long a host given by name may take until it can be bound: the name of a pod that has just
    // started resolves a little later.
    absl::Duration patience = absl::Minutes(2);
  };
  static absl::StatusOr<std::unique_ptr<RankStoreHost>> Start(const Options& options);
  // Waits a moment for the other ranks to leave or to hear why all must end.
  ~RankStoreHost();
  RankStoreHost(const RankStoreHost&) = delete;
  RankStoreHost& operator=(const RankStoreHost&) = delete;

  RankStore& store() { return store_; }
  const std::string& address() const { return server_->address(); }  // with the actual port

 private:
  class Service;
  explicit RankStoreHost(const Options& options);
  absl::Status Listen(const Options& options);

  RankStore store_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<ServerHost> server_;
  StopToken stop_;
  std::thread clock_;
};

}  // namespace cohort
