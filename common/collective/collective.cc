#include "common/collective/collective.h"

#include <ATen/ATen.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

class LocalCollective final : public Collective {
 public:
  int rank() const override { return 0; }
  int world_size() const override { return 1; }
  absl::Status AllReduceSum(at::Tensor&, absl::string_view) override { return absl::OkStatus(); }
  absl::Status Broadcast(at::Tensor&, int, absl::string_view) override { return absl::OkStatus(); }
  absl::Status Barrier(absl::string_view) override { return absl::OkStatus(); }
  void Abort() override {}
};

}  // namespace

absl::Status Collective::BroadcastBytes(std::string& bytes, int root, absl::string_view what) {
  if (world_size() == 1) return absl::OkStatus();
  const std::string length_name = absl::StrCat(what, " (length)");
  at::Tensor length = at::full({1}, static_cast<int64_t>(bytes.size()), at::kLong);
  COHORT_RETURN_IF_ERROR(Broadcast(length, root, length_name));
  const int64_t size = length.item<int64_t>();
  if (size == 0) {
    bytes.clear();
    return absl::OkStatus();
  }
  at::Tensor content = at::empty({size}, at::kByte);
  if (rank() == root) std::memcpy(content.data_ptr(), bytes.data(), bytes.size());
  COHORT_RETURN_IF_ERROR(Broadcast(content, root, what));
  bytes.assign(static_cast<const char*>(content.data_ptr()), static_cast<size_t>(size));
  return absl::OkStatus();
}

std::unique_ptr<Collective> MakeLocalCollective() { return std::make_unique<LocalCollective>(); }

}  // namespace cohort
