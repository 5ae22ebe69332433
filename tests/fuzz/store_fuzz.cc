#include "tests/fuzz/store_fuzz.h"

#include <algorithm>
#include <array>

#include "common/base/log.h"
#include "common/rank_store/rank_store.h"

namespace cohort {
namespace {

constexpr int kWorld = 3;

class Calls {
 public:
  Calls() {
    for (int rank = 0; rank < kWorld; ++rank) {
      v1::StoreJoin join;
      join.set_protocol_version(kRankProtocol);
      join.set_rank(rank);
      join.set_world(kWorld);
      const auto joined = store_.Join(join);
      COHORT_CHECK(joined.ok());
      generations_[static_cast<size_t>(rank)] = joined->generation();
    }
  }
  // Every call that waits is answered exactly once.
  ~Calls() {
    clock_.Advance(absl::Hours(24 * 365));
    store_.Tick();
    store_.Abort("the end");
    COHORT_CHECK(answered_ == asked_);
    COHORT_CHECK(store_.RanksAlive().message().size() < 4096);
  }

  void Make(int kind, const uint8_t* data, size_t size) {
    switch (kind % 9) {
      case 0:
        return With<v1::StoreJoin>(data, size, [&](auto& r) { (void)store_.Join(r); });
      case 1:
        return With<v1::StoreSet>(data, size, [&](auto& r) { (void)store_.Set(Admitted(r)); });
      case 2:
        return With<v1::StoreCompareSet>(data, size,
                                         [&](auto& r) { (void)store_.CompareSet(Admitted(r)); });
      case 3:
        return With<v1::StoreKeys>(data, size, [&](auto& r) { (void)store_.Check(Admitted(r)); });
      case 4:
        return With<v1::StoreAdd>(data, size, [&](auto& r) { (void)store_.Add(Admitted(r)); });
      case 5:
        return With<v1::StoreKeys>(data, size, [&](auto& r) { (void)store_.Delete(Admitted(r)); });
      case 6:
        return With<v1::StoreKeys>(data, size, [&](auto& r) {
          ++asked_;
          last_ = store_.Wait(Admitted(r), [this](const auto&) { ++answered_; });
        });
      case 7:
        return With<v1::StoreBeat>(data, size, [&](auto& r) {
          ++asked_;
          last_ = store_.Beat(Admitted(r), [this](const auto&) { ++answered_; });
        });
      default:
        store_.Cancel(last_);
        clock_.Advance(absl::Milliseconds(100 * size));
        store_.Tick();
    }
  }

 private:
  template <typename Request, typename Then>
  void With(const uint8_t* data, size_t size, const Then& then) {
    Request request;
    if (request.ParseFromArray(data, static_cast<int>(size))) then(request);
  }
  template <typename Request>
  const Request& Admitted(Request& request) {
    const uint64_t generation = request.generation();
    if (generation >= 1 && generation <= kWorld) {
      request.set_generation(generations_[generation - 1]);
    }
    return request;
  }
  static RankStore::Options OptionsOf(Clock* clock) {
    RankStore::Options options;
    options.world = kWorld;
    options.clock = clock;
    return options;
  }

  FakeClock clock_;
  RankStore store_{OptionsOf(&clock_)};
  std::array<uint64_t, kWorld> generations_{};
  uint64_t last_ = 0;
  int asked_ = 0, answered_ = 0;
};

}  // namespace

int FuzzRankStore(const uint8_t* data, size_t size) {
  Calls calls;
  while (size >= 3) {
    const size_t length = std::min<size_t>(static_cast<size_t>(data[1] | data[2] << 8), size - 3);
    calls.Make(data[0], data + 3, length);
    data += 3 + length;
    size -= 3 + length;
  }
  return 0;
}

}  // namespace cohort

#ifdef COHORT_FUZZ_TARGET
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return cohort::COHORT_FUZZ_TARGET(data, size);
}
#endif
