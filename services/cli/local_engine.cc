#include "services/cli/local_engine.h"

#include <deque>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/vocabulary.h"
#include "common/tensor/device.h"

namespace cohort {
namespace {

// The groups in flight, in the order in which they were asked for.
class OrderedGroups {
 public:
  void Expect(GroupId id) { order_.push_back(id); }
  void Add(FinishedGroup group) {
    const GroupId id = group.id;
    finished_.emplace(id, std::move(group));
  }

  // Hands over what is next in order, as far as it is there.
  absl::Status Flush(const TakeGroupInOrder& take) {
    while (!order_.empty()) {
      const auto found = finished_.find(order_.front());
      if (found == finished_.end()) break;
      COHORT_RETURN_IF_ERROR(take(found->second));
      finished_.erase(found);
      order_.pop_front();
    }
    return absl::OkStatus();
  }

 private:
  std::deque<GroupId> order_;
  std::unordered_map<GroupId, FinishedGroup> finished_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CausalLm>> LoadLocalModel(const std::string& folder,
                                                         const std::string& dtype,
                                                         const std::string& device, int threads) {
  COHORT_RETURN_IF_ERROR(SetComputeThreads(threads));
  CausalLmOptions options;
  COHORT_ASSIGN_OR_RETURN(options.device, ResolveDevice(device));
  COHORT_ASSIGN_OR_RETURN(options.dtype, ResolveDtype(dtype, options.device));
  return CausalLm::Load(folder, options);
}

absl::StatusOr<LocalModel> LoadLocalModelAndTokenizer(const std::string& folder,
                                                      const std::string& dtype,
                                                      const std::string& device, int threads) {
  LocalModel local;
  COHORT_ASSIGN_OR_RETURN(local.tokenizer, Tokenizer::Load(folder));
  COHORT_ASSIGN_OR_RETURN(local.model, LoadLocalModel(folder, dtype, device, threads));
  COHORT_RETURN_IF_ERROR(
      CheckVocabulary(folder, local.tokenizer->vocab_size(), local.model->config()));
  return local;
}

absl::StatusOr<std::unique_ptr<GroupGenerator>> MakeLocalEngine(
    const LocalModel& local, int max_rows, const std::optional<EmInfOptions>& em_inf) {
  EngineOptions options;
  options.max_rows = max_rows;
  options.em_inf = em_inf;
  options.stop_tokens = local.tokenizer->eos_ids();
  options.tokenizer = local.tokenizer.get();
  return GroupGenerator::Create(local.model.get(), options);
}

absl::Status GenerateInOrder(GroupGenerator& engine, const NextRequest& next,
                             const TakeGroupInOrder& take) {
  OrderedGroups groups;
  bool more = true;
  while (more || !engine.idle()) {
    // One waiting group is enough to refill slots as they become free.
    while (more && engine.waiting_groups() == 0) {
      COHORT_ASSIGN_OR_RETURN(std::optional<GroupRequest> request, next());
      more = request.has_value();
      if (!more) break;
      const GroupId id = request->id;
      groups.Expect(id);
      const absl::Status status = engine.Submit(*std::move(request));
      if (!status.ok()) groups.Add({id, status, {}});
    }
    StepResult step = engine.Step();
    for (FinishedGroup& group : step.finished) groups.Add(std::move(group));
    COHORT_RETURN_IF_ERROR(groups.Flush(take));
  }
  return absl::OkStatus();
}

}  // namespace cohort
