#include "common/telemetry/metric_row.h"

#include <nlohmann/json.hpp>

namespace cohort {

const MetricRow::Value* MetricRow::Find(absl::string_view key) const {
  for (const auto& [name, value] : values_) {
    if (name == key) return &value;
  }
  return nullptr;
}

void MetricRow::Put(absl::string_view key, Value value) {
  for (auto& [name, old] : values_) {
    if (name == key) {
      old = std::move(value);
      return;
    }
  }
  values_.emplace_back(std::string(key), std::move(value));
}

std::string MetricRow::ToJson() const {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const auto& [name, value] : values_) {
    std::visit([&json, &key = name](const auto& v) { json[key] = v; }, value);
  }
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace cohort
