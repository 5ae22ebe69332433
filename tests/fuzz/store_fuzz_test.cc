// Runs the fuzz target over a small seeded corpus with mutations; a longer campaign links it with
// libFuzzer.
#include "tests/fuzz/store_fuzz.h"

#include <gtest/gtest.h>

#include <string>

#include "cohort/v1/store.pb.h"
#include "common/base/log.h"
#include "common/rpc/channel.h"
#include "tests/fuzz/campaign.h"

namespace cohort {
namespace {

void Append(std::string* out, int kind, const google::protobuf::MessageLite& request) {
  const std::string bytes = request.SerializeAsString();
  out->push_back(static_cast<char>(kind));
  out->push_back(static_cast<char>(bytes.size() & 0xff));
  out->push_back(static_cast<char>(bytes.size() >> 8));
  *out += bytes;
}

std::string Seed() {
  std::string out;
  v1::StoreJoin join;
  join.set_protocol_version(1);
  join.set_rank(1);
  join.set_world(3);
  join.set_host("node");
  Append(&out, 0, join);
  v1::StoreKeys keys;
  keys.set_generation(2);
  keys.add_keys(std::string("a"));
  keys.add_keys(std::string("b"));
  keys.set_timeout_seconds(10);
  Append(&out, 6, keys);
  v1::StoreBeat beat;
  beat.set_generation(3);
  beat.set_rank(2);
  beat.set_doing("all-reduce");
  beat.set_hold_seconds(1);
  Append(&out, 7, beat);
  v1::StoreSet set;
  set.set_generation(1);
  set.set_key("a");
  set.set_value("1");
  Append(&out, 1, set);
  v1::StoreAdd add;
  add.set_generation(1);
  add.set_key("b");
  add.set_amount(3);
  Append(&out, 4, add);
  v1::StoreCompareSet swap;
  swap.set_generation(1);
  swap.set_key("a");
  swap.set_expected("1");
  swap.set_desired("2");
  Append(&out, 2, swap);
  Append(&out, 8, beat);
  Append(&out, 3, keys);
  Append(&out, 5, keys);
  return out;
}

TEST(StoreFuzzTest, NoCallsCrashTheStoreAndEveryWaitIsAnswered) {
  SetUpRpc();
  SetMinLogLevel(LogLevel::kFatal);
  Campaign(&FuzzRankStore, Seed(), 20000, /*seed=*/17);
}

}  // namespace
}  // namespace cohort
