#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "common/base/status_macros.h"
#include "common/text/tokenizer.h"

namespace cohort {
namespace {

constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
// An unfinished UTF-8 sequence has at most three bytes, hence at most this many replacements.
constexpr int kMaxHeldBack = 3;
// Longer runs of tokens that are no text by themselves start over in the middle.
constexpr size_t kMaxWindow = 64;

// Bytes of `text` that later tokens cannot change.
size_t StableSize(absl::string_view text) {
  for (int i = 0; i < kMaxHeldBack && absl::EndsWith(text, kReplacement); ++i) {
    text.remove_suffix(kReplacement.size());
  }
  return text.size();
}

}  // namespace

absl::StatusOr<std::string> IncrementalDecoder::Append(int32_t id) {
  window_.push_back(id);
  COHORT_ASSIGN_OR_RETURN(const std::string text, tokenizer_->Decode(window_, skip_special_));
  const size_t stable = StableSize(text);
  COHORT_ASSIGN_OR_RETURN(std::string fresh, Take(stable, text));
  const bool all_returned = stable == text.size();
  if (!all_returned && window_.size() < kMaxWindow) return fresh;

  // Keep the last token only, once it stands for itself: a decoder may treat the first one in a
  // special way (strip a leading space), so the window is never empty.
  const std::vector<int32_t> last = {id};
  COHORT_ASSIGN_OR_RETURN(const std::string tail, tokenizer_->Decode(last, skip_special_));
  const bool clean = !absl::StrContains(tail, kReplacement) && !tail.empty();
  if (clean || window_.size() >= kMaxWindow) {
    window_ = last;
    returned_ = clean ? tail.size() : StableSize(tail);
  }
  return fresh;
}

absl::StatusOr<std::string> IncrementalDecoder::Finish() {
  COHORT_ASSIGN_OR_RETURN(const std::string text, tokenizer_->Decode(window_, skip_special_));
  absl::StatusOr<std::string> rest = Take(text.size(), text);
  window_.clear();
  returned_ = 0;
  return rest;
}

absl::StatusOr<std::string> IncrementalDecoder::Take(size_t stable_size, const std::string& text) {
  if (stable_size <= returned_) return std::string();
  std::string fresh = text.substr(returned_, stable_size - returned_);
  returned_ = stable_size;
  return fresh;
}

}  // namespace cohort
