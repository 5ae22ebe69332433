// A user id for each sandbox, where this process may change its own: limits that the kernel counts
// by user, and files that only their owner may read, then hold between the programs of one worker.
// Internal to sandbox.cc.
#pragma once

#include <sys/types.h>

#include "absl/strings/string_view.h"

namespace cohort {

// Holds an id while it lives. Thread-safe; another worker of this machine may take the same id for
// a moment, which costs only that the two share a count.
class SandboxUser {
 public:
  SandboxUser();
  ~SandboxUser();
  SandboxUser(const SandboxUser&) = delete;
  SandboxUser& operator=(const SandboxUser&) = delete;

  uid_t id() const { return id_; }  // this process's own where it is not root
  bool changes() const { return changes_; }
  bool own() const { return own_; }  // nobody else's: not `nobody`'s, not this process's

 private:
  uid_t id_;
  bool changes_ = false;
  bool own_ = false;
};

// Processes and threads of a user that this process can see.
uint64_t TasksOf(uid_t user);

// Whether the user namespace that the map (/proc/self/uid_map) describes has all ids of sandboxes.
bool MapsSandboxUsers(absl::string_view uid_map);

}  // namespace cohort
