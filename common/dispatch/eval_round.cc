#include "common/dispatch/eval_round.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace cohort {

void EvalRound::Begin(std::vector<PromptItem> items, uint64_t run_seed, int64_t version) {
  items_.clear();
  index_.clear();
  for (PromptItem& prompt : items) {
    prompt.purpose = Purpose::kEval;
    Item item;
    item.flight.id = MakeGroupId(run_seed ^ static_cast<uint64_t>(version) << 32, prompt.ordinal,
                                 Purpose::kEval);
    item.flight.item = std::move(prompt);
    index_[item.flight.id] = items_.size();
    items_.push_back(std::move(item));
  }
}

Flight* EvalRound::Find(GroupId id) {
  const auto known = index_.find(id);
  if (known == index_.end() || items_[known->second].group.has_value()) return nullptr;
  return &items_[known->second].flight;
}

Flight* EvalRound::NextWaiting() {
  for (Item& item : items_) {
    if (!item.group.has_value() && item.flight.lease_id == 0) return &item.flight;
  }
  return nullptr;
}

void EvalRound::ForEachFlight(const std::function<void(Flight&)>& visit) {
  for (Item& item : items_) {
    if (!item.group.has_value()) visit(item.flight);
  }
}

void EvalRound::Settle(Group group) { items_[index_.at(group.id)].group = std::move(group); }

void EvalRound::GiveUp(GroupId id) { items_[index_.at(id)].group = Group{}; }

bool EvalRound::Done() const {
  return std::all_of(items_.begin(), items_.end(),
                     [](const Item& item) { return item.group.has_value(); });
}

std::vector<Group> EvalRound::Take() {
  std::vector<Group> groups;
  for (Item& item : items_) groups.push_back(*std::move(item.group));
  items_.clear();
  index_.clear();
  return groups;
}

std::string EvalRound::DescribeMissing() const {
  int64_t missing = 0, not_taken = 0;
  std::set<std::string> holders;
  for (const Item& item : items_) {
    if (item.group.has_value()) continue;
    ++missing;
    if (item.flight.lease_id == 0) {
      ++not_taken;
    } else {
      holders.insert(item.flight.worker);
    }
  }
  return absl::StrCat("evaluation: ", missing, " of ", items_.size(),
                      " prompts have not come back; no worker took ", not_taken,
                      " of them, the others are leased to ",
                      holders.empty() ? "nobody" : absl::StrJoin(holders, ", "));
}

}  // namespace cohort
