// How fast groups and weights move over loopback, and what a publication costs.
//
//   GroupUpload     session stream: encoded group -> chunks -> learner -> decoded -> ack, bytes/s
//   Publish         WeightStore::Publish of a model of `megabytes`, `permille` of its bf16 changed
//   FetchAll        a version over the weight stream to a worker that holds nothing: blocks as
//                   they are; `tls` 1: encrypted and authenticated on both sides
//   Deliver         a version, as differences, until ready and then applied; `tls` likewise
#include <ATen/ops/empty.h>
#include <benchmark/benchmark.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "common/base/rng.h"
#include "common/rpc/server_host.h"
#include "common/rpc/test_certificates.h"
#include "common/wire/group_codec.h"
#include "common/wire/test_groups.h"
#include "services/learner/session_service.h"
#include "services/learner/weight_service.h"
#include "services/rollout/session_client.h"
#include "services/rollout/weight_follower.h"

namespace cohort {
namespace {

absl::Time Deadline() { return absl::Now() + absl::Minutes(2); }

// ---- groups ----

constexpr int kRows = 16;
constexpr int kTokens = 1000;

absl::StatusOr<PromptItem> EndlessPrompt(uint64_t ordinal) {
  PromptItem item;
  item.ordinal = ordinal;
  item.prompt_ids.assign(45, 1);
  item.plans.resize(kRows);
  for (SamplePlan& plan : item.plans) plan.max_new_tokens = kTokens;
  return item;
}

// One worker sends `groups` groups per iteration; the time ends with the last ack.
void GroupUpload(benchmark::State& state) {
  const int groups = static_cast<int>(state.range(0));
  MemoryGroupLog log;
  // Arrivals are filtered at once, so that there is always a next lease.
  Dispatcher dispatcher(
      {.groups_per_step = 64}, EndlessPrompt, [](const Group&) { return OrdinalEnd::kBand; }, &log,
      Clock::Real());
  SessionService service({.rows_ahead = 64}, &dispatcher);
  auto host = ServerHost::Start({.services = {service.grpc_service()}});
  absl::Mutex mu;
  std::vector<LeaseTerms> leases;
  int acked = 0;
  SessionClient client({.learner = (*host)->address(), .worker_id = "w"},
                       {.on_lease =
                            [&](LeaseTerms lease) {
                              absl::MutexLock lock(&mu);
                              leases.push_back(std::move(lease));
                            },
                        .on_ack =
                            [&](const v1::Ack& ack) {
                              absl::MutexLock lock(&mu);
                              if (ack.outcome() == v1::Ack::ACCEPTED) ++acked;
                            }});
  client.Start();
  const Group sample = RandomGroup(/*seed=*/1, kRows, kTokens);
  size_t bytes = 0;
  for (auto _ : state) {
    int sent = 0;
    {
      absl::MutexLock lock(&mu);
      acked = 0;
    }
    while (sent < groups) {
      std::vector<LeaseTerms> now;
      {
        absl::MutexLock lock(&mu);
        const auto some = [&] { return !leases.empty(); };
        if (!mu.AwaitWithDeadline(absl::Condition(&some), Deadline()))
          return state.SkipWithError("no lease");
        now.swap(leases);
      }
      for (const LeaseTerms& lease : now) {
        Group group = sample;
        group.id = lease.group_id;
        group.ordinal = lease.ordinal;
        group.prompt = lease.prompt;
        if (bytes == 0) bytes = EncodeGroup(group).size();
        if (!client.SendGroup(group, Deadline()).ok()) return state.SkipWithError("not sent");
        ++sent;
      }
    }
    absl::MutexLock lock(&mu);
    const auto all = [&] { return acked >= sent; };
    if (!mu.AwaitWithDeadline(absl::Condition(&all), Deadline())) {
      return state.SkipWithError("groups without an ack");
    }
    state.SetBytesProcessed(state.bytes_processed() + static_cast<int64_t>(bytes) * sent);
    state.SetItemsProcessed(state.items_processed() + sent);
  }
  dispatcher.Close();
  client.Stop();
  service.Shutdown();
}
BENCHMARK(GroupUpload)->Arg(64)->UseRealTime()->Unit(benchmark::kMillisecond);

// ---- weights ----

std::vector<PublishedTensor> MakeModel(int64_t megabytes, at::ScalarType dtype) {
  std::vector<PublishedTensor> tensors;
  const int64_t element = dtype == at::kFloat ? 4 : 2;
  for (int64_t i = 0; i < 30; ++i) {
    const int64_t count = (megabytes << 20) / 30 / element;
    tensors.push_back(
        {"layer." + std::to_string(100 + i), at::empty({count}, at::TensorOptions().dtype(dtype))});
    CounterRng rng(static_cast<uint64_t>(i));
    auto* bytes = static_cast<unsigned char*>(tensors.back().tensor.data_ptr());
    // Weights of one sign and scale: the upper byte is alike, the lower one is random.
    for (int64_t b = 0; b < count * element; b += 8) {
      const uint64_t word = (rng.Next64() & 0x80ff80ff80ff80ffull) | 0x3c003c003c003c00ull;
      std::memcpy(bytes + b, &word, static_cast<size_t>(std::min<int64_t>(8, count * element - b)));
    }
  }
  return tensors;
}

// Moves `permille` of the bf16 numbers by one unit in the last place, or (fp32) the lower half of
// every number: what an optimizer step does to each.
void Step(std::vector<PublishedTensor>& tensors, int64_t permille, uint64_t seed) {
  for (PublishedTensor& entry : tensors) {
    CounterRng rng(seed++);
    const size_t size = entry.tensor.nbytes();
    auto* bytes = static_cast<unsigned char*>(entry.tensor.data_ptr());
    if (entry.tensor.scalar_type() == at::kFloat) {
      for (size_t b = 0; b + 8 <= size; b += 8) {
        uint64_t word = 0;
        std::memcpy(&word, bytes + b, 8);
        word ^= rng.Next64() & 0x00003fff00003fffull;
        std::memcpy(bytes + b, &word, 8);
      }
      continue;
    }
    const size_t changes = size / 2 * static_cast<size_t>(permille) / 1000;
    for (size_t i = 0; i < changes; ++i) bytes[rng.Below(size / 2) * 2] ^= 1;
  }
}

at::ScalarType DtypeOf(const benchmark::State& state) {
  return state.range(2) == 32 ? at::kFloat : at::kBFloat16;
}

void Publish(benchmark::State& state) {
  auto model = MakeModel(state.range(0), DtypeOf(state));
  WeightStore store(WeightStore::Options{});
  int64_t version = 0;
  if (!store.Publish(version, model).ok()) return state.SkipWithError("not published");
  for (auto _ : state) {
    state.PauseTiming();
    Step(model, state.range(1), static_cast<uint64_t>(++version) * 1000);
    state.ResumeTiming();
    if (!store.Publish(version, model).ok()) return state.SkipWithError("not published");
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * store.bytes_of_newest());
  state.counters["older_MB"] = static_cast<double>(store.bytes_of_older()) / 1e6;
}
BENCHMARK(Publish)
    ->ArgNames({"megabytes", "permille", "bits"})
    ->Args({256, 0, 16})
    ->Args({256, 12, 16})
    ->Args({256, 33, 16})
    ->Args({256, 198, 16})
    ->Args({512, 1000, 32})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// Null unless `tls`.
std::shared_ptr<const Security> MakeSecurity(bool tls, Role role) {
  if (!tls) return nullptr;
  static const TestAuthority authority;
  static const TemporaryFolder folder;
  return *Security::Create({.files = authority.Write(folder.path(), role), .roles = {role}});
}

// A worker that holds nothing gets all blocks as they are: what a connection carries.
void FetchAll(benchmark::State& state) {
  const bool tls = state.range(1) != 0;
  auto model = MakeModel(state.range(0), at::kBFloat16);
  auto live = MakeModel(state.range(0), at::kBFloat16);
  WeightStore store(WeightStore::Options{});
  if (!store.Publish(0, model).ok()) return state.SkipWithError("not published");
  const auto security = MakeSecurity(tls, Role::kLearner);
  WeightService service({.security = security}, &store);
  auto host = ServerHost::Start({.services = {service.grpc_service()}, .security = security});
  double wire = 0;
  for (auto _ : state) {
    state.PauseTiming();
    for (const PublishedTensor& entry : live) {  // blocks that are alike are not asked for
      std::memset(entry.tensor.data_ptr(), 0, entry.tensor.nbytes());
    }
    state.ResumeTiming();
    WeightFollower follower({.learner = (*host)->address(),
                             .worker_id = "w",
                             .security = MakeSecurity(tls, Role::kRollout),
                             .blank = true},
                            live);
    follower.Start();
    if (!follower.WaitReady(0, Deadline()).ok()) return state.SkipWithError("not delivered");
    state.PauseTiming();
    wire = static_cast<double>(follower.bytes_received());
    follower.Stop();
    state.ResumeTiming();
  }
  state.counters["wire_MB"] = wire / 1e6;
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * store.bytes_of_newest());
  service.Shutdown();
}
BENCHMARK(FetchAll)
    ->ArgNames({"megabytes", "tls"})
    ->Args({512, 0})
    ->Args({512, 1})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void Deliver(benchmark::State& state) {
  const bool tls = state.range(3) != 0;
  auto model = MakeModel(state.range(0), DtypeOf(state));
  auto live = MakeModel(state.range(0), DtypeOf(state));
  WeightStore store(WeightStore::Options{});
  int64_t version = 0;
  if (!store.Publish(version, model).ok()) return state.SkipWithError("not published");
  const auto security = MakeSecurity(tls, Role::kLearner);
  WeightService service({.security = security}, &store);
  auto host = ServerHost::Start({.services = {service.grpc_service()}, .security = security});
  WeightFollower follower({.learner = (*host)->address(),
                           .worker_id = "w",
                           .security = MakeSecurity(tls, Role::kRollout)},
                          live);
  follower.Start();
  if (!follower.WaitReady(0, Deadline()).ok() || !follower.ApplyIfReady().ok()) {
    return state.SkipWithError("no first version");
  }
  const uint64_t before = follower.bytes_received();
  double apply_seconds = 0;
  for (auto _ : state) {
    state.PauseTiming();
    Step(model, state.range(1), static_cast<uint64_t>(++version) * 1000);
    if (!store.Publish(version, model).ok()) return state.SkipWithError("not published");
    state.ResumeTiming();
    service.Notify();
    if (!follower.WaitReady(version, Deadline()).ok()) return state.SkipWithError("not delivered");
    const absl::Time start = absl::Now();
    if (!follower.ApplyIfReady().ok()) return state.SkipWithError("not applied");
    apply_seconds += absl::ToDoubleSeconds(absl::Now() - start);
  }
  const auto rounds = static_cast<double>(state.iterations());
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * store.bytes_of_newest());
  state.counters["wire_MB"] =
      static_cast<double>(follower.bytes_received() - before) / 1e6 / rounds;
  state.counters["pause_ms"] = apply_seconds * 1e3 / rounds;
  follower.Stop();
  service.Shutdown();
}
BENCHMARK(Deliver)
    ->ArgNames({"megabytes", "permille", "bits", "tls"})
    ->Args({256, 12, 16, 0})
    ->Args({256, 12, 16, 1})
    ->Args({256, 198, 16, 0})
    ->Args({256, 198, 16, 1})
    ->Args({512, 1000, 32, 0})
    ->Args({512, 1000, 32, 1})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace cohort
