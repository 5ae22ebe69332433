// What this process turned away: connections whose TLS handshake failed and calls without the
// right. Counted by reason for the metrics, and said in the log at most once in ten seconds a
// reason, because whoever is refused may try a thousand times a second. Process-wide. Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace cohort {

enum class Refused {
  kNoCertificate,         // the peer showed none
  kUntrustedCertificate,  // of another authority, expired or not yet valid
  kHandshake,  // any other failure of the handshake: plaintext, garbage, no common cipher
  kWrongRole,  // a certificate of ours whose role may not call this method
  kSecret,     // without the run's secret, or with another one
  kTooMany,    // a connection for which no descriptor is left
};
inline constexpr std::array kRefusedReasons = {
    Refused::kNoCertificate, Refused::kUntrustedCertificate,
    Refused::kHandshake,     Refused::kWrongRole,
    Refused::kSecret,        Refused::kTooMany};

// As the metric's label says it: "no_certificate".
absl::string_view RefusedName(Refused reason);

void CountRefused(Refused reason, absl::string_view detail);
uint64_t RefusedCount(Refused reason);  // since the process started
// "; last refused: ..." if this process turned a peer away since then, for one that waits for a
// peer and does not know that it was there. Empty otherwise.
std::string LastRefusalSince(absl::Time since);

// gRPC ends a failed handshake below the services and says so only in its log: this counts the line
// if it is one of those. False: it is another line.
bool CountFailedHandshake(absl::string_view grpc_log_line);

}  // namespace cohort
