// Scalars as TensorBoard events: a TFRecord file of tensorflow.Event messages (fields wall_time 1,
// step 2, file_version 3, summary 5; Summary.Value: tag 1, simple_value 2).
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/telemetry/append_file.h"
#include "common/telemetry/metric_row.h"

namespace cohort {

// CRC-32C (Castagnoli) of the bytes, as TFRecord wants it before masking.
uint32_t Crc32c(absl::string_view bytes);

// Thread-safe.
class TensorBoardWriter {
 public:
  // Creates the folder and in it one new events.out.tfevents.* file. Files that are there lose
  // their events of steps after `last_step`: those of a run that is resumed from it come again.
  static absl::StatusOr<std::unique_ptr<TensorBoardWriter>> Open(
      const std::string& folder, int64_t last_step = std::numeric_limits<int64_t>::max());

  // Writes and flushes the row's finite numbers; text and other numbers are left out.
  absl::Status Write(int64_t step, const MetricRow& row, absl::Time now = absl::Now());

  const std::string& path() const { return path_; }

 private:
  explicit TensorBoardWriter(AppendFile file) : path_(file.path()), file_(std::move(file)) {}
  absl::Status WriteRecord(absl::string_view event);
  const std::string path_;
  absl::Mutex mu_;
  AppendFile file_ ABSL_GUARDED_BY(mu_);
};

}  // namespace cohort
