#include "common/train/checkpoint.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/tensor/safetensors.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;

constexpr char kStateFile[] = "state.json";
constexpr char kMastersFile[] = "masters.safetensors";
constexpr char kOptimizerFile[] = "optimizer.safetensors";
constexpr char kBestFile[] = "best.json";
constexpr char kTemporary[] = ".writing-";
constexpr char kPrefix[] = "step-";
constexpr char kDamaged[] = "damaged-";

std::string Join(const std::string& folder, const std::string& name) {
  return absl::StrCat(folder, "/", name);
}

std::vector<std::string> EntriesOf(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

void RemoveTree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) COHORT_LOG(WARNING) << "cannot remove " << path << ": " << error.message();
}

absl::Status SyncTree(const std::string& folder) {
  for (const std::string& name : EntriesOf(folder)) {
    const std::string path = Join(folder, name);
    COHORT_RETURN_IF_ERROR(fs::is_directory(path) ? SyncTree(path) : SyncFile(path));
  }
  return SyncFile(folder);
}

std::vector<NamedTensor> WithPrefix(const std::string& prefix, std::vector<NamedTensor> tensors) {
  for (NamedTensor& tensor : tensors) tensor.name = absl::StrCat(prefix, tensor.name);
  return tensors;
}

std::vector<NamedTensor> Moments(const CausalLm& model, const AdamW& optimizer) {
  std::vector<NamedTensor> all =
      WithPrefix("exp_avg.", model.NamedViews(optimizer.first_moments()));
  for (NamedTensor& tensor :
       WithPrefix("exp_avg_sq.", model.NamedViews(optimizer.second_moments()))) {
    all.push_back(std::move(tensor));
  }
  return all;
}

std::string StateJson(const CheckpointState& state, absl::Span<const CheckpointPart> beside) {
  nlohmann::json json;
  json["format"] = 1;
  json["step"] = state.step;
  json["version"] = state.version;
  json["optimizer_steps"] = state.optimizer_steps;
  json["kl_coef"] = state.kl_coef;
  for (const CheckpointPart& part : beside) {
    json["beside"][part.name]["optimizer_steps"] = part.optimizer->steps();
  }
  json["config_hash"] = state.config_hash;
  json["extra"] = nlohmann::json::parse(state.extra_json, nullptr, /*allow_exceptions=*/false);
  return absl::StrCat(json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace), "\n");
}

absl::StatusOr<CheckpointState> ParseState(const std::string& path) {
  COHORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  try {
    CheckpointState state;
    state.step = json.at("step").get<int64_t>();
    state.version = json.at("version").get<int64_t>();
    state.optimizer_steps = json.at("optimizer_steps").get<int64_t>();
    state.kl_coef = json.at("kl_coef").get<double>();
    state.config_hash = json.at("config_hash").get<std::string>();
    state.extra_json = json.at("extra").dump();
    return state;
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected the state of a checkpoint, found ", error.what(),
                     ". Remove this checkpoint's folder to resume from the one before"));
  }
}

// What is wrong with the files themselves, whoever reads them, and not with this machine.
bool IsDamage(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsNotFound(status) || absl::IsDataLoss(status);
}

absl::StatusOr<int64_t> StepsOfPart(const std::string& path, const std::string& name) {
  COHORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  try {
    return json.at("beside").at(name).at("optimizer_steps").get<int64_t>();
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected a checkpoint with a ", name, ", found none (", error.what(),
                     "); it was written by a run of another algorithm"));
  }
}

absl::Status WriteModel(const std::string& folder, const CausalLm& model, const AdamW& optimizer) {
  COHORT_RETURN_IF_ERROR(model.Save(folder));
  if (optimizer.separate_masters()) {
    COHORT_RETURN_IF_ERROR(
        WriteSafetensors(Join(folder, kMastersFile), model.NamedViews(optimizer.masters())));
  }
  return WriteSafetensors(Join(folder, kOptimizerFile), Moments(model, optimizer));
}

absl::Status WriteContent(const std::string& folder, const CausalLm& model, const AdamW& optimizer,
                          const CheckpointState& state, absl::Span<const CheckpointPart> beside) {
  COHORT_RETURN_IF_ERROR(WriteModel(folder, model, optimizer));
  for (const CheckpointPart& part : beside) {
    const std::string own = Join(folder, part.name);
    COHORT_RETURN_IF_ERROR(MakeFolders(own));
    COHORT_RETURN_IF_ERROR(WriteModel(own, *part.model, *part.optimizer));
  }
  COHORT_RETURN_IF_ERROR(WriteFileAtomic(Join(folder, kStateFile), StateJson(state, beside)));
  return SyncTree(folder);
}

// Copies tensors of the same names; `read` gives the stored one.
template <typename Read>
absl::Status CopyInto(const std::vector<NamedTensor>& targets, const std::string& where,
                      const Read& read) {
  for (const NamedTensor& target : targets) {
    COHORT_ASSIGN_OR_RETURN(const at::Tensor stored, read(target.name));
    if (stored.sizes() != target.tensor.sizes()) {
      return absl::InvalidArgumentError(absl::StrCat(
          where, ": tensor ", target.name, " has ", stored.numel(), " numbers in another shape ",
          "than the model's ", target.tensor.numel(), "; it belongs to another model"));
    }
    target.tensor.detach().copy_(stored);
  }
  return absl::OkStatus();
}

absl::Status LoadMasters(const std::string& path, CausalLm* model, AdamW* optimizer) {
  const std::vector<NamedTensor> masters = model->NamedViews(optimizer->masters());
  const std::string file = Join(path, kMastersFile);
  if (access(file.c_str(), F_OK) == 0) {
    COHORT_ASSIGN_OR_RETURN(const auto stored, SafetensorsFile::Open(file));
    return CopyInto(masters, file, [&](const std::string& name) { return stored->Tensor(name); });
  }
  COHORT_ASSIGN_OR_RETURN(const WeightsFolder stored, WeightsFolder::Open(path));
  return CopyInto(masters, path, [&](const std::string& name) { return stored.Tensor(name); });
}

absl::Status LoadMoments(const std::string& path, CausalLm* model, AdamW* optimizer) {
  const std::string file = Join(path, kOptimizerFile);
  COHORT_ASSIGN_OR_RETURN(const auto stored, SafetensorsFile::Open(file));
  return CopyInto(Moments(*model, *optimizer), file,
                  [&](const std::string& name) { return stored->Tensor(name); });
}

}  // namespace

CheckpointStore::CheckpointStore(std::string folder, int keep_last)
    : folder_(std::move(folder)), keep_last_(std::max(1, keep_last)) {}

absl::Status CheckpointStore::Open() {
  COHORT_RETURN_IF_ERROR(MakeFolders(folder_));
  for (const std::string& name : EntriesOf(folder_)) {
    if (!absl::StartsWith(name, kTemporary)) continue;
    COHORT_LOG(WARNING) << "removing an unfinished checkpoint: " << Join(folder_, name);
    RemoveTree(Join(folder_, name));
  }
  const absl::StatusOr<std::string> text = ReadFile(Join(folder_, kBestFile));
  if (!text.ok()) return absl::OkStatus();
  const auto json = nlohmann::json::parse(*text, nullptr, false);
  if (json.is_object() && json.contains("step") && json.contains("score")) {
    best_.step = json["step"].is_number_integer() ? json["step"].get<int64_t>() : -1;
    best_.score = json["score"].is_number() ? json["score"].get<double>() : 0;
  }
  return absl::OkStatus();
}

absl::Status CheckpointStore::Save(const CausalLm& model, const AdamW& optimizer,
                                   const CheckpointState& state,
                                   absl::Span<const CheckpointPart> beside) try {
  const std::string target = PathOf(state.step);
  if (access(Join(target, kStateFile).c_str(), F_OK) == 0) return absl::OkStatus();
  const std::string temporary = Join(folder_, absl::StrCat(kTemporary, state.step));
  RemoveTree(temporary);
  absl::Status status = MakeFolders(temporary);
  if (status.ok()) status = WriteContent(temporary, model, optimizer, state, beside);
  if (status.ok() && rename(temporary.c_str(), target.c_str()) != 0) {
    status = ErrnoStatus(errno, absl::StrCat("cannot rename ", temporary, " to ", target));
  }
  if (!status.ok()) {
    RemoveTree(temporary);
    return status;
  }
  COHORT_RETURN_IF_ERROR(SyncFile(folder_));
  return Prune();
} catch (const std::exception& error) {
  return absl::InternalError(absl::StrCat("checkpoint: ", error.what()));
}

absl::Status CheckpointStore::Prune() {
  std::vector<int64_t> steps = Steps();
  const size_t keep = static_cast<size_t>(keep_last_);
  for (size_t i = 0; i + keep < steps.size(); ++i) {
    if (steps[i] == best_.step) continue;
    // Renamed first: a removal that is cut short must not leave half a checkpoint.
    const std::string doomed = Join(folder_, absl::StrCat(kTemporary, "removed-", steps[i]));
    if (rename(PathOf(steps[i]).c_str(), doomed.c_str()) == 0) RemoveTree(doomed);
  }
  return absl::OkStatus();
}

absl::Status CheckpointStore::MarkBest(int64_t step, double score) {
  nlohmann::json json = {{"step", step}, {"score", score}};
  COHORT_RETURN_IF_ERROR(WriteFileAtomic(Join(folder_, kBestFile), json.dump() + "\n"));
  best_ = {step, score};
  return Prune();
}

std::string CheckpointStore::PathOf(int64_t step) const {
  return Join(folder_, absl::StrFormat("%s%08d", kPrefix, step));
}

std::vector<int64_t> CheckpointStore::Steps() const {
  std::vector<int64_t> steps;
  for (const std::string& name : EntriesOf(folder_)) {
    int64_t step = 0;
    if (!absl::StartsWith(name, kPrefix)) continue;
    if (!absl::SimpleAtoi(name.substr(sizeof(kPrefix) - 1), &step)) continue;
    if (access(Join(PathOf(step), kStateFile).c_str(), F_OK) == 0) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

absl::StatusOr<std::string> CheckpointStore::Newest() const {
  const std::vector<int64_t> steps = Steps();
  if (steps.empty()) return absl::NotFoundError(absl::StrCat(folder_, ": no checkpoint is there"));
  return PathOf(steps.back());
}

absl::StatusOr<LoadedCheckpoint> CheckpointStore::LoadNewest(
    CausalLm* model, AdamW* optimizer, absl::Span<const CheckpointPart> beside,
    const std::function<absl::Status(const LoadedCheckpoint&)>& check) const {
  std::vector<int64_t> steps = Steps(), damaged;
  if (steps.empty()) return Newest().status();
  absl::Status first;
  for (; !steps.empty(); steps.pop_back()) {
    LoadedCheckpoint found{PathOf(steps.back()), {}};
    absl::StatusOr<CheckpointState> state = ParseState(Join(found.path, kStateFile));
    if (state.ok()) {
      found.state = *state;
      COHORT_RETURN_IF_ERROR(check(found));
      state = LoadCheckpoint(found.path, model, optimizer, beside);
    }
    if (state.ok()) {
      for (const int64_t step : damaged) SetAside(step);
      if (!damaged.empty()) COHORT_LOG(ERROR) << "going on from " << found.path << " instead";
      return found;
    }
    if (!IsDamage(state.status())) return state.status();
    COHORT_LOG(ERROR) << "checkpoint " << found.path << " is damaged: " << state.status().message();
    first.Update(state.status());
    damaged.push_back(steps.back());
  }
  return absl::InvalidArgumentError(absl::StrCat(
      std::string(first.message()), "; no older checkpoint in ", folder_, " is whole (",
      damaged.size(), " looked at): restore one, or start a new run with --out"));
}

// Out of the way of the checkpoint that is written when its step is made again.
void CheckpointStore::SetAside(int64_t step) const {
  const std::string from = PathOf(step);
  const std::string to = Join(folder_, absl::StrFormat("%s%s%08d", kDamaged, kPrefix, step));
  RemoveTree(to);  // of an earlier time
  if (rename(from.c_str(), to.c_str()) == 0) return;
  COHORT_LOG(ERROR) << "cannot rename " << from << " to " << to << ": " << std::strerror(errno);
}

absl::StatusOr<CheckpointState> LoadCheckpoint(const std::string& path, CausalLm* model,
                                               AdamW* optimizer,
                                               absl::Span<const CheckpointPart> beside) try {
  const c10::NoGradGuard no_grad;
  COHORT_ASSIGN_OR_RETURN(CheckpointState state, ParseState(Join(path, kStateFile)));
  COHORT_RETURN_IF_ERROR(LoadMasters(path, model, optimizer));
  COHORT_RETURN_IF_ERROR(LoadMoments(path, model, optimizer));
  optimizer->Restored(state.optimizer_steps);
  for (const CheckpointPart& part : beside) {
    const std::string own = Join(path, part.name);
    COHORT_ASSIGN_OR_RETURN(const int64_t steps, StepsOfPart(Join(path, kStateFile), part.name));
    COHORT_RETURN_IF_ERROR(LoadMasters(own, part.model, part.optimizer));
    COHORT_RETURN_IF_ERROR(LoadMoments(own, part.model, part.optimizer));
    part.optimizer->Restored(steps);
  }
  return state;
} catch (const std::exception& error) {
  return absl::InternalError(absl::StrCat(path, ": ", error.what()));
}

}  // namespace cohort
