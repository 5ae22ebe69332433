// The prompts of one evaluation, from the first lease to the last group. Belongs to the dispatcher,
// which locks for it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/dispatch/lease.h"

namespace cohort {

// Not thread-safe.
class EvalRound {
 public:
  // Forgets the round before. The same prompt asked for at another version is another group.
  void Begin(std::vector<PromptItem> items, uint64_t run_seed, int64_t version);
  bool Contains(GroupId id) const { return index_.contains(id); }
  Flight* Find(GroupId id);  // null: not of this round, or it has arrived
  Flight* NextWaiting();     // null: all are leased or have arrived
  void ForEachFlight(const std::function<void(Flight&)>& visit);
  void Settle(Group group);  // it has arrived; its id is of this round
  void GiveUp(GroupId id);   // its group will have no rows
  bool Done() const;
  std::vector<Group> Take();  // in the order of the items; when done
  std::string DescribeMissing() const;

 private:
  struct Item {
    Flight flight;
    std::optional<Group> group;
  };
  std::vector<Item> items_;
  absl::flat_hash_map<GroupId, size_t> index_;
};

}  // namespace cohort
