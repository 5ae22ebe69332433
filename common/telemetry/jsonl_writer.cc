#include "common/telemetry/jsonl_writer.h"

#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

// True when the line belongs to a step up to `last_step`, or to no step at all.
bool Keep(absl::string_view line, int64_t last_step) {
  const auto json = nlohmann::json::parse(line.begin(), line.end(), nullptr, false);
  if (!json.is_object()) return false;
  const auto step = json.find("step");
  return step == json.end() || !step->is_number_integer() || step->get<int64_t>() <= last_step;
}

}  // namespace

absl::StatusOr<std::unique_ptr<JsonlWriter>> JsonlWriter::Open(const std::string& path) {
  COHORT_ASSIGN_OR_RETURN(AppendFile file, AppendFile::Open(path));
  return std::unique_ptr<JsonlWriter>(new JsonlWriter(std::move(file)));
}

absl::StatusOr<std::unique_ptr<JsonlWriter>> JsonlWriter::Resume(const std::string& path,
                                                                 int64_t last_step) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return Open(path);
  COHORT_RETURN_IF_ERROR(text.status());
  std::string kept;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (Keep(line, last_step)) absl::StrAppend(&kept, line, "\n");
  }
  COHORT_RETURN_IF_ERROR(WriteFileAtomic(path, kept));
  return Open(path);
}

absl::Status JsonlWriter::WriteLine(absl::string_view json) {
  absl::MutexLock lock(&mu_);
  return file_.Append(absl::StrCat(json, "\n"));
}

}  // namespace cohort
