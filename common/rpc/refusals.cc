#include "common/rpc/refusals.h"

#include <atomic>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/rate_limit.h"

namespace cohort {
namespace {

constexpr absl::Duration kSayAgain = absl::Seconds(10);
constexpr absl::string_view kHandshakeFailed = "Handshake failed";

struct Account {
  std::atomic<uint64_t> count{0};
  RateLimit said{kSayAgain};
};

Account& AccountOf(Refused reason) {
  static auto* accounts = new std::array<Account, kRefusedReasons.size()>();
  return (*accounts)[static_cast<size_t>(reason)];
}

struct Last {
  absl::Mutex mu;
  absl::Time time ABSL_GUARDED_BY(mu) = absl::InfinitePast();
  std::string detail ABSL_GUARDED_BY(mu);
};

Last& LastOne() {
  static auto* last = new Last();
  return *last;
}

void Remember(absl::string_view detail) {
  Last& last = LastOne();
  absl::MutexLock lock(&last.mu);
  last.time = absl::Now();
  last.detail = std::string(detail.substr(0, 400));
}

}  // namespace

absl::string_view RefusedName(Refused reason) {
  switch (reason) {
    case Refused::kNoCertificate:
      return "no_certificate";
    case Refused::kUntrustedCertificate:
      return "untrusted_certificate";
    case Refused::kHandshake:
      return "handshake";
    case Refused::kWrongRole:
      return "wrong_role";
    case Refused::kSecret:
      return "secret";
    case Refused::kTooMany:
      return "too_many_connections";
  }
  return "unknown";
}

void CountRefused(Refused reason, absl::string_view detail) {
  Account& account = AccountOf(reason);
  account.count.fetch_add(1, std::memory_order_relaxed);
  Remember(detail);
  if (const auto left_out = account.said.Ask()) {
    COHORT_LOG(WARNING) << "refused (" << RefusedName(reason) << "): " << detail
                        << LeftOutText(*left_out);
  }
}

uint64_t RefusedCount(Refused reason) {
  return AccountOf(reason).count.load(std::memory_order_relaxed);
}

std::string LastRefusalSince(absl::Time since) {
  Last& last = LastOne();
  absl::MutexLock lock(&last.mu);
  return last.time < since ? "" : absl::StrCat("; last refused: ", last.detail);
}

namespace {

// An authority of the same name with another key shows as a signature that is wrong, under the name
// of whatever checks signatures.
bool IsUntrusted(absl::string_view line) {
  for (const absl::string_view sign :
       {"certificate verify failed", "alert unknown ca", "certificate expired",
        "asn1 encoding routines", "rsa routines", "elliptic curve routines"}) {
    if (absl::StrContains(line, sign)) return true;
  }
  return false;
}

}  // namespace

bool CountFailedHandshake(absl::string_view line) {
  if (!absl::StrContains(line, kHandshakeFailed)) return false;
  if (absl::StrContains(line, "peer did not return a certificate")) {
    CountRefused(Refused::kNoCertificate, "a peer showed no certificate");
  } else if (IsUntrusted(line)) {
    CountRefused(Refused::kUntrustedCertificate,
                 "a certificate of another authority, expired or not yet valid");
  } else {
    CountRefused(Refused::kHandshake, line);
  }
  return true;
}

}  // namespace cohort
