// A checkpoint as a tar stream, so that it can be fetched from where no tar is installed.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cohort {

// The folder of one checkpoint of a run: step "newest", "best", or a number. NotFound says which
// there are.
struct CheckpointChoice {
  int64_t step = 0;
  std::string name;    // of its folder
  std::string folder;  // the path
};
absl::StatusOr<CheckpointChoice> ChooseCheckpoint(const std::string& run, const std::string& step);

// What was written.
struct ExportTotals {
  int files = 0;
  int64_t bytes = 0;  // of their content
};

// Writes the checkpoint's Hugging Face files to `fd` as a tar (pax), below the name of its folder;
// with `all` also what only a resumed run needs: optimizer, masters, state and the models trained
// beside. A checkpoint that is pruned meanwhile is written to its end.
absl::StatusOr<ExportTotals> WriteTar(const CheckpointChoice& checkpoint, bool all, int fd);

}  // namespace cohort
