// A process's own certificate, its key and the authority that signs the peers': read, and judged
// before anything is built on them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace cohort {

// Paths of PEM files. `cert` holds the process's own certificate first, then any intermediate ones.
struct CertificateFiles {
  std::string ca;
  std::string cert;
  std::string key;
};

struct Certificates {
  std::string ca_pem;
  std::string cert_pem;
  std::string key_pem;
  absl::Time begins, expires;      // of the process's own certificate
  std::vector<std::string> names;  // its URI and DNS names
};

// How a certificate is going to be used; what the authority permits is checked against it.
struct CertificateUse {
  bool server = false;
  bool client = false;
};

// InvalidArgument, in one line that names the file: not readable, not PEM, a key of another
// certificate, not signed by the authority, expired or not yet valid (with the date), not for
// `use`.
absl::StatusOr<Certificates> ReadCertificates(const CertificateFiles& files, CertificateUse use);

}  // namespace cohort
