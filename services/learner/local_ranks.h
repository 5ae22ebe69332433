// Several ranks in one pod or on one host: the program as their parent. It starts itself once per
// rank, watches them, and ends as they end. Forks before anything of LibTorch or gRPC.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace cohort {

// Where the ranks of a run lie: rank I*R+k of P*R is the k-th of pod I.
struct RankPlacement {
  int pods = 1;        // P, --pods
  int pod_index = -1;  // I, --pod-index; below 0: JOB_COMPLETION_INDEX, or 0 without it
  int pod_index_offset =
      0;                  // --pod-index-offset: added to it, where another job has the first pods
  int ranks_per_pod = 1;  // R, --ranks-per-pod
  int local_rank = -1;    // k of this process; below 0: its parent, or the only one of its pod

  int world() const { return pods * ranks_per_pod; }
  int rank_of(int k) const { return pod_index * ranks_per_pod + k; }
  // This process is the parent of the pod's ranks.
  bool is_parent() const { return ranks_per_pod > 1 && local_rank < 0; }
};

// The placement with the index of this pod, checked. InvalidArgument names the flag.
absl::StatusOr<RankPlacement> Place(RankPlacement asked);

struct LocalRanksOptions {
  std::string program;                 // path
  std::vector<std::string> arguments;  // its command line; each rank gets --local-rank=K beside it
  RankPlacement placement;
  int threads = 0;  // of one rank; 0: the cores are shared by the ranks
  // After a stop; zero: as long as it takes (run.stop_grace_seconds).
  absl::Duration grace;
};

// Returns the exit code: 0 when all ranks ended with 0. Otherwise 42 when one said 42, then 128 +
// signal when they were stopped, then 1; where rank 0 is among them its own word on a stop counts.
// A rank that ends for itself takes the others with it.
int RunLocalRanks(const LocalRanksOptions& options);

}  // namespace cohort
