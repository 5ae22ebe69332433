#include "common/rpc/security_flags.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cohort/v1/config.pb.h"
#include "common/base/status_macros.h"
#include "common/rpc/security.h"

namespace cohort {
namespace {

// What the command line says about certificates replaces the section's `insecure`, and the other
// way round; a single file replaces the section's file.
SecurityOptions Merge(const SecurityFlags& flags, const v1::TlsSection& section,
                      std::vector<Role> roles) {
  SecurityOptions options;
  options.roles = std::move(roles);
  options.files = flags.files;
  const bool any = !flags.files.ca.empty() || !flags.files.cert.empty() || !flags.files.key.empty();
  options.insecure = flags.insecure || (section.insecure() && !any);
  if (flags.insecure) return options;
  if (options.files.ca.empty()) options.files.ca = section.ca_file();
  if (options.files.cert.empty()) options.files.cert = section.cert_file();
  if (options.files.key.empty()) options.files.key = section.key_file();
  return options;
}

// CLI11 takes any number and many words for yes: too generous for a switch that ends encryption.
std::string OneOrZero(const std::string& value) {
  if (value == "1" || value == "0") return "";
  return absl::StrCat("expected 1 or 0 (also in COHORT_INSECURE), found '", value, "'");
}

bool LivesByASecret(const SecurityOptions& options) {
  return options.files.ca.empty() && options.files.cert.empty() && options.files.key.empty() &&
         !options.insecure;
}

}  // namespace

void AddSecurityFlags(CLI::App* app, SecurityFlags* flags) {
  const std::string group = "Security";
  app->add_option("--tls-ca", flags->files.ca,
                  "PEM: the authority that signs the peers' certificates")
      ->envname("COHORT_TLS_CA")
      ->type_name("FILE")
      ->group(group);
  app->add_option("--tls-cert", flags->files.cert, "PEM: this process's certificate")
      ->envname("COHORT_TLS_CERT")
      ->type_name("FILE")
      ->group(group);
  app->add_option("--tls-key", flags->files.key, "PEM: its key")
      ->envname("COHORT_TLS_KEY")
      ->type_name("FILE")
      ->group(group);
  app->add_flag("--insecure{1}", flags->insecure, "plaintext beyond loopback addresses")
      ->envname("COHORT_INSECURE")
      ->check(OneOrZero)
      ->group(group);
  app->add_option("--secret-file", flags->secret_file,
                  "the run's secret, for processes of one machine (default: `secret` in the run's "
                  "folder)")
      ->envname("COHORT_SECRET_FILE")
      ->type_name("FILE")
      ->group(group);
}

absl::StatusOr<std::shared_ptr<const Security>> MakeServerSecurity(const SecurityFlags& flags,
                                                                   const v1::TlsSection& section,
                                                                   Role role,
                                                                   const std::string& run_secret) {
  SecurityOptions options = Merge(flags, section, {role});
  if (!flags.secret_file.empty()) {
    COHORT_ASSIGN_OR_RETURN(options.secret, ReadSecretFile(flags.secret_file));
  } else if (LivesByASecret(options)) {
    COHORT_ASSIGN_OR_RETURN(options.secret, EnsureSecretFile(run_secret));
  }
  return Security::Create(options);
}

absl::StatusOr<std::shared_ptr<const Security>> MakeClientSecurity(
    const SecurityFlags& flags, const v1::TlsSection& section, std::vector<Role> roles,
    const std::vector<std::string>& secrets) {
  SecurityOptions options = Merge(flags, section, std::move(roles));
  if (!flags.secret_file.empty()) {
    // Whoever serves may make it later; one that is there must be good.
    if (access(flags.secret_file.c_str(), F_OK) == 0 || errno != ENOENT) {
      const absl::Status good = ReadSecretFile(flags.secret_file).status();
      if (!good.ok()) {
        return absl::Status(good.code(), absl::StrCat("--secret-file: ", good.message()));
      }
    }
    options.secret_files = {flags.secret_file};
  } else if (LivesByASecret(options)) {
    options.secret_files = secrets;
  }
  return Security::Create(options);
}

}  // namespace cohort
