// Processes that a command starts on its own machine join each other by the run's secret, whatever
// certificates there are for others.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "cohort/v1/config.pb.h"

namespace cohort {

// A child's environment: without the certificates of this process, and with the secret even where
// others are let in without.
inline std::vector<std::pair<std::string, std::string>> WithoutCertificates() {
  return {{"COHORT_TLS_CA", ""},
          {"COHORT_TLS_CERT", ""},
          {"COHORT_TLS_KEY", ""},
          {"COHORT_INSECURE", "0"}};
}

// InvalidArgument: a configuration for several machines.
inline absl::Status CheckOneMachine(const v1::RunConfig& config) {
  const v1::TlsSection& tls = config.tls();
  if (!tls.has_ca_file() && !tls.has_cert_file() && !tls.has_key_file()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "tls: this command starts learner and workers on one machine, where a secret joins them, and "
      "one certificate cannot have both roles; leave out tls, or start cohort-learner and "
      "cohort-rollout by hand with --tls-cert");
}

}  // namespace cohort
