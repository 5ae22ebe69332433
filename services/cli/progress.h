// What `cohort train` shows: one line per step and, on a terminal, a progress bar below them.
#pragma once

#include <cstdint>
#include <deque>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace cohort {

// New whole lines of a file that another process appends to. A file replaced by a rename (as a
// resumed run does with metrics.jsonl) is followed from where the new one ends.
class LineFollower {
 public:
  // `skip_existing`: what is in the file now was shown before.
  LineFollower(std::string path, bool skip_existing);
  std::vector<std::string> Poll();

 private:
  std::string path_;
  uint64_t inode_ = 0;
  uint64_t offset_ = 0;
};

// The line of one step from its entry in metrics.jsonl; values that are missing are left out.
//   step 12/40  reward 0.406  mixed 75%  entropy 0.83  kl 0.0012  length 6.1  112 tok/s
//   staleness 0  wait learner 1.2s rollout 0.4s  left 2:20
std::string StepLine(const nlohmann::json& metrics, int64_t steps, absl::string_view time_left);

// "evaluation: addition-1 21.3%", empty when the entry has none.
std::string EvalLine(const nlohmann::json& metrics);

// "[######..............] 12/40  elapsed 1:10  left 2:20" in at most `width` columns.
std::string ProgressBar(int64_t step, int64_t steps, absl::Duration elapsed,
                        absl::string_view time_left, int width);

// The highlights of summary.json, a line each.
std::string SummaryText(const nlohmann::json& summary);

class ProgressView {
 public:
  // `width`: columns of the terminal; 0: not a terminal, plain lines only.
  ProgressView(std::ostream* out, int64_t steps, int width)
      : out_(out), steps_(steps), width_(width), started_(absl::Now()) {}

  void OnMetrics(const std::string& line);  // one line of metrics.jsonl; others are ignored
  void OnAlert(const std::string& line);    // likewise of alerts.jsonl
  void Say(absl::string_view text);         // a line of our own
  void Tick();                              // redraws the bar; call a few times a second
  void Done();                              // removes the bar

 private:
  std::string TimeLeft() const;
  void ClearBar();

  std::ostream* out_;
  int64_t steps_;
  int width_;
  absl::Time started_;
  int64_t step_ = 0;
  std::deque<double> recent_;  // seconds of the last steps
  bool bar_shown_ = false;
  bool paused_ = false;
};

}  // namespace cohort
