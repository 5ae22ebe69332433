// The metrics of one step, in the order they were set: what metrics.jsonl and TensorBoard get.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"

namespace cohort {

// Plain data; not thread-safe. Keys are those of metric_names.h. Setting a key again replaces it.
class MetricRow {
 public:
  using Value = std::variant<double, int64_t, std::string>;

  void Set(absl::string_view key, double value) { Put(key, value); }
  void Set(absl::string_view key, int64_t value) { Put(key, value); }
  void Set(absl::string_view key, int value) { Put(key, int64_t{value}); }
  void SetText(absl::string_view key, std::string value) { Put(key, std::move(value)); }

  const std::vector<std::pair<std::string, Value>>& values() const { return values_; }
  const Value* Find(absl::string_view key) const;

  // One JSON object on one line. Numbers that are not finite become null, bytes that are not UTF-8
  // become U+FFFD.
  std::string ToJson() const;

 private:
  void Put(absl::string_view key, Value value);
  std::vector<std::pair<std::string, Value>> values_;
};

}  // namespace cohort
