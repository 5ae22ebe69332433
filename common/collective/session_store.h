// c10d's Store over a session at the ranks' store. Errors are c10d's DistStoreError, with the key
// or the reason and the deadline in the text. Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "common/rank_store/rank_session.h"

namespace cohort {

class SessionStore final : public c10d::Store {
 public:
  using Bytes = std::vector<uint8_t>;

  SessionStore(std::shared_ptr<RankSession> session, std::chrono::milliseconds timeout)
      : Store(timeout), session_(std::move(session)) {}

  c10::intrusive_ptr<c10d::Store> clone() override;
  void set(const std::string& key, const Bytes& value) override;
  Bytes compareSet(const std::string& key, const Bytes& expected, const Bytes& desired) override;
  Bytes get(const std::string& key) override;
  int64_t add(const std::string& key, int64_t amount) override;
  bool deleteKey(const std::string& key) override;
  bool check(const std::vector<std::string>& keys) override;
  int64_t getNumKeys() override;
  void wait(const std::vector<std::string>& keys) override { wait(keys, getTimeout()); }
  void wait(const std::vector<std::string>& keys,
            const std::chrono::milliseconds& timeout) override;

 private:
  v1::StoreKeys Keys(const std::vector<std::string>& keys,
                     const std::chrono::milliseconds& timeout) const;
  absl::Duration Timeout() const { return absl::FromChrono(getTimeout()); }

  const std::shared_ptr<RankSession> session_;
};

}  // namespace cohort
