#include "common/run_files/fetch_plan.h"

#include <map>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rpc/channel.h"
#include "common/rpc/json.h"
#include "common/run_files/listing.h"

namespace cohort {
namespace {

constexpr size_t kMaxNameBytes = 200;
constexpr size_t kSha256Digits = 64;

// For messages: bounded, and without anything that a terminal would obey.
std::string Quoted(absl::string_view text) {
  return absl::StrCat("\"", absl::CHexEscape(std::string(text.substr(0, kMaxNameBytes))), "\"");
}

bool IsPlainName(const std::string& name) {
  const auto allowed = [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= kMaxNameBytes && name.front() != '.' &&
         absl::c_all_of(name, allowed);
}

bool IsSha256(const std::string& text) {
  const auto digit = [](unsigned char c) {
    return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
  };
  return text.size() == kSha256Digits && absl::c_all_of(text, digit);
}

std::set<std::string> FoldersOf(const v1::RunConfig& config) {
  std::set<std::string> folders = {kPolicyFolder};
  const auto& sources = config.algorithm().reward().sources();
  for (int i = 0; i < sources.size(); ++i) {
    if (sources[i].name() == "reward_model") folders.insert(RewardModelFolder(i));
  }
  return folders;
}

absl::Status CheckFile(const v1::RunFile& file, const std::set<std::string>& folders) {
  const auto wrong = [&](absl::string_view expected, absl::string_view found) {
    return absl::InvalidArgumentError(
        absl::StrCat("file ", Quoted(file.name()), " of the learner's description: expected ",
                     std::string(expected), ", found ", std::string(found)));
  };
  if (!folders.contains(file.folder())) {
    return wrong("the folder of a model of its configuration", Quoted(file.folder()));
  }
  if (!IsPlainName(file.name())) {
    return wrong("a name of letters, digits, '.', '_' and '-' that does not start with '.'",
                 Quoted(file.name()));
  }
  if (file.size() > kMaxRunFileBytes) {
    return wrong(absl::StrCat("at most ", kMaxRunFileBytes, " bytes"), absl::StrCat(file.size()));
  }
  if (!IsSha256(file.sha256())) return wrong("64 digits of a SHA-256", Quoted(file.sha256()));
  return absl::OkStatus();
}

// No name twice in a folder, one size per content, and a bound on all of it.
absl::Status CheckTogether(const FetchPlan& plan) {
  std::set<std::pair<std::string, std::string>> names;
  std::map<std::string, uint64_t> sizes;
  uint64_t total = 0;
  for (const v1::RunFile& file : plan.files) {
    if (!names.emplace(file.folder(), file.name()).second) {
      return absl::InvalidArgumentError(absl::StrCat("file ", file.name(), " of ", file.folder(),
                                                     " is in the learner's description twice"));
    }
    const auto [known, fresh] = sizes.emplace(file.sha256(), file.size());
    if (known->second != file.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("file ", file.name(), " of ", file.folder(), ": expected ", known->second,
                       " bytes as another file of its hash, found ", file.size()));
    }
    if (fresh) total += file.size();  // kMaxRunFiles x kMaxRunFileBytes does not overflow
  }
  if (total > kMaxRunBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the learner's files: expected at most ",
                                                   kMaxRunBytes, " bytes, found ", total));
  }
  for (const std::string& folder : FoldersOf(plan.config)) {
    for (const char* name : {"config.json", "tokenizer.json"}) {
      if (names.contains({folder, name})) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("the learner's description has no ", name, " of ", folder));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FetchPlan> ParseDescription(const v1::DescribeReply& reply) {
  FetchPlan plan;
  if (absl::Status read = MessageFromJson(reply.resolved_config(), &plan.config); !read.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the learner's configuration: ", std::string(read.message())));
  }
  if (!IsSha256(reply.model_sha256())) {
    return absl::InvalidArgumentError(
        absl::StrCat("the learner's model hash: expected 64 digits of a SHA-256, found ",
                     Quoted(reply.model_sha256())));
  }
  plan.model_sha256 = reply.model_sha256();
  if (reply.files_size() > kMaxRunFiles) {
    return absl::InvalidArgumentError(absl::StrCat("the learner's description: expected at most ",
                                                   kMaxRunFiles, " files, found ",
                                                   reply.files_size()));
  }
  const std::set<std::string> folders = FoldersOf(plan.config);
  for (const v1::RunFile& file : reply.files()) {
    COHORT_RETURN_IF_ERROR(CheckFile(file, folders));
    plan.files.push_back(file);
  }
  COHORT_RETURN_IF_ERROR(CheckTogether(plan));
  return plan;
}

absl::Status FileAssembler::Add(absl::string_view piece) {
  if (piece.empty() || piece.size() > kMaxChunkBytes) {
    return absl::InvalidArgumentError(absl::StrCat("file ", file_.name(),
                                                   ": expected pieces of 1 to ", kMaxChunkBytes,
                                                   " bytes, found one of ", piece.size()));
  }
  if (piece.size() > file_.size() - size_) {
    return absl::InvalidArgumentError(
        absl::StrCat("file ", file_.name(), ": expected ", file_.size(), " bytes, found more"));
  }
  size_ += piece.size();
  sha_.Update(piece);
  return absl::OkStatus();
}

absl::Status FileAssembler::Finish() {
  if (size_ != file_.size()) {
    return absl::DataLossError(
        absl::StrCat("file ", file_.name(), ": expected ", file_.size(), " bytes, found ", size_));
  }
  if (sha_.HexDigest() == file_.sha256()) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("file ", file_.name(), ": its SHA-256 is not ", file_.sha256()));
}

}  // namespace cohort
