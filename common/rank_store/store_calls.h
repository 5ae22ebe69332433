// The calls of the ranks' store as a rank makes them: rank 0 directly, the others over gRPC. Every
// call blocks at most `timeout` (a wait: its own time and a little more). Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cohort/v1/store.pb.h"
#include "common/rank_store/rank_store.h"
#include "common/rpc/security.h"

namespace cohort {

class StoreCalls {
 public:
  virtual ~StoreCalls() = default;
  virtual absl::StatusOr<v1::StoreJoined> Join(const v1::StoreJoin& request,
                                               absl::Duration timeout) = 0;
  virtual absl::Status Set(const v1::StoreSet& request, absl::Duration timeout) = 0;
  virtual absl::StatusOr<v1::StoreValue> CompareSet(const v1::StoreCompareSet& request,
                                                    absl::Duration timeout) = 0;
  virtual absl::StatusOr<v1::StoreValue> Get(const v1::StoreKeys& request) = 0;
  virtual absl::Status Wait(const v1::StoreKeys& request) = 0;
  virtual absl::StatusOr<bool> Check(const v1::StoreKeys& request, absl::Duration timeout) = 0;
  virtual absl::StatusOr<int64_t> Add(const v1::StoreAdd& request, absl::Duration timeout) = 0;
  virtual absl::StatusOr<bool> Delete(const v1::StoreKeys& request, absl::Duration timeout) = 0;
  virtual absl::StatusOr<int64_t> Count(const v1::StoreKeys& request, absl::Duration timeout) = 0;
  virtual absl::StatusOr<v1::StoreBeatReply> Beat(const v1::StoreBeat& request,
                                                  absl::Duration timeout) = 0;
};

// In the process that holds the store; `store` outlives the result.
std::unique_ptr<StoreCalls> LocalStoreCalls(RankStore* store);
// Over a connection of its own to HOST:PORT, whose name is resolved anew for each object; null
// `security`: in plaintext. Errors name the store's address. InvalidArgument: `security` does not
// let this process dial there.
absl::StatusOr<std::unique_ptr<StoreCalls>> RemoteStoreCalls(
    const std::string& address, std::shared_ptr<const Security> security);

}  // namespace cohort
