// Appends lines to a JSONL file, each written and flushed to the kernel as one piece, so that a
// reader that follows the file sees whole lines and a killed process loses none.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "common/telemetry/append_file.h"
#include "common/telemetry/metric_row.h"

namespace cohort {

// Thread-safe.
class JsonlWriter {
 public:
  // Opens for appending; creates the file where there is none.
  static absl::StatusOr<std::unique_ptr<JsonlWriter>> Open(const std::string& path);
  // For a resumed run: first drops the lines whose "step" is above `last_step` (they will be
  // written again) and a half line at the end.
  static absl::StatusOr<std::unique_ptr<JsonlWriter>> Resume(const std::string& path,
                                                             int64_t last_step);

  absl::Status Write(const MetricRow& row) { return WriteLine(row.ToJson()); }
  // `json` is one object without a line break. ResourceExhausted when the disk is full; the file
  // then holds nothing of the line.
  absl::Status WriteLine(absl::string_view json);

 private:
  explicit JsonlWriter(AppendFile file) : file_(std::move(file)) {}
  absl::Mutex mu_;
  AppendFile file_ ABSL_GUARDED_BY(mu_);
};

}  // namespace cohort
