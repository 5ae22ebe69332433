// What the current batch has cost so far: ordinals that ended without being trained. Belongs to the
// dispatcher, which locks for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "common/dispatch/ledger.h"

namespace cohort {

// Not thread-safe.
class Drops {
 public:
  // `tokens`: of its responses; 0: none arrived.
  void Add(uint64_t ordinal, OrdinalEnd end, int64_t tokens = 0);
  // Groups before `ordinal` that were asked for in vain. A prompt that is too long is not asked
  // for.
  int64_t AskedBefore(uint64_t ordinal) const;
  // Takes out what ended at or before `ordinal`, by OrdinalEndName; the rest is a later batch's.
  // Their response tokens are added to `tokens`.
  std::map<std::string, int64_t> Take(uint64_t ordinal, int64_t* tokens);
  int64_t Tokens() const;
  // More were lost to what is broken (no verdict, failed workers) than filtered.
  bool MostlyBroken() const;
  int64_t Count(OrdinalEnd end) const;
  bool empty() const { return ends_.empty(); }
  size_t size() const { return ends_.size(); }
  std::string Describe() const;  // "all_wrong 3, unscorable 1"

 private:
  struct Drop {
    OrdinalEnd end;
    int64_t tokens;
  };
  std::map<uint64_t, Drop> ends_;
};

}  // namespace cohort
