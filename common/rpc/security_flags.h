// The command line's part of Security, the same in all programs:
//
//   --tls-ca FILE --tls-cert FILE --tls-key FILE   COHORT_TLS_CA COHORT_TLS_CERT COHORT_TLS_KEY
//   --insecure                                     COHORT_INSECURE (1 or 0)
//   --secret-file FILE                             COHORT_SECRET_FILE
//
// A flag goes before its variable, both before the configuration's section `tls`.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/rpc/certificates.h"

namespace CLI {
class App;
}

namespace cohort {

namespace v1 {
class TlsSection;
}
class Security;
enum class Role;

struct SecurityFlags {
  CertificateFiles files;
  bool insecure = false;
  std::string secret_file;
};

// `flags` outlives the parsing.
void AddSecurityFlags(CLI::App* app, SecurityFlags* flags);

// For the program that listens. Without certificates and `insecure` its callers need the secret in
// `run_secret`, which is made if it is not there.
absl::StatusOr<std::shared_ptr<const Security>> MakeServerSecurity(const SecurityFlags& flags,
                                                                   const v1::TlsSection& section,
                                                                   Role role,
                                                                   const std::string& run_secret);

// For a program that dials and has one of `roles`. Without a --secret-file the first of `secrets`
// that is there when a call begins is taken; none: calls carry no secret.
absl::StatusOr<std::shared_ptr<const Security>> MakeClientSecurity(
    const SecurityFlags& flags, const v1::TlsSection& section, std::vector<Role> roles,
    const std::vector<std::string>& secrets);

}  // namespace cohort
