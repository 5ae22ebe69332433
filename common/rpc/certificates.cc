#include "common/rpc/certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <ctime>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace cohort {
namespace {

constexpr size_t kMaxPemBytes = size_t{1} << 20;

template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, Freed<&BIO_free>>;
using Certificate = std::unique_ptr<X509, Freed<&X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<&EVP_PKEY_free>>;
using Store = std::unique_ptr<X509_STORE, Freed<&X509_STORE_free>>;
using StoreContext = std::unique_ptr<X509_STORE_CTX, Freed<&X509_STORE_CTX_free>>;
using Names = std::unique_ptr<GENERAL_NAMES, Freed<&GENERAL_NAMES_free>>;

void FreeChain(STACK_OF(X509) * chain) { sk_X509_pop_free(chain, X509_free); }
using Chain = std::unique_ptr<STACK_OF(X509), Freed<&FreeChain>>;

absl::Status Bad(absl::string_view what, const std::string& path, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(what, " ", path, ": ", why));
}

absl::StatusOr<std::string> Read(absl::string_view what, const std::string& path) {
  absl::StatusOr<std::string> content = ReadRegularFile(path, kMaxPemBytes);
  if (!content.ok()) return Bad(what, path, content.status().message());
  return content;
}

// In the order of the file; empty: no certificate is in it.
std::vector<Certificate> ParseCertificates(const std::string& pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  std::vector<Certificate> found;
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    found.emplace_back(certificate);
  }
  ERR_clear_error();  // the end of the file is an error to OpenSSL
  return found;
}

// A key with a password is not for a process that starts alone: nobody is asked for it.
int NoPassword(char*, int, int, void*) { return -1; }

Key ParseKey(const std::string& pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, &NoPassword, nullptr));
  ERR_clear_error();
  return key;
}

absl::Time TimeOf(const ASN1_TIME* time) {
  std::tm utc{};
  if (ASN1_TIME_to_tm(time, &utc) != 1) return absl::InfinitePast();
  return absl::FromTM(utc, absl::UTCTimeZone());
}

std::string Day(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", time, absl::UTCTimeZone());
}

void ReadNames(X509* certificate, Certificates* out) {
  const Names names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI && name->type != GEN_DNS) continue;
    const ASN1_IA5STRING* text = name->d.ia5;
    out->names.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                            static_cast<size_t>(ASN1_STRING_length(text)));
  }
}

absl::Status CheckDates(X509* certificate, const std::string& path) {
  const absl::Time from = TimeOf(X509_get0_notBefore(certificate));
  const absl::Time until = TimeOf(X509_get0_notAfter(certificate));
  if (absl::Now() >= until) {
    return Bad("certificate", path, absl::StrCat("it expired at ", Day(until), ": renew it"));
  }
  if (absl::Now() < from) {
    return Bad("certificate", path,
               absl::StrCat("it is valid from ", Day(from), " on, and now it is ", Day(absl::Now()),
                            ": correct the clock or the certificate"));
  }
  return absl::OkStatus();
}

// The same check as the peer's, so that a wrong set of files is said here and not by each peer.
absl::Status CheckChain(const std::vector<Certificate>& own, const std::vector<Certificate>& ca,
                        int purpose, const CertificateFiles& files) {
  const Store store(X509_STORE_new());
  for (const Certificate& certificate : ca) X509_STORE_add_cert(store.get(), certificate.get());
  const Chain others(sk_X509_new_null());
  for (size_t i = 1; i < own.size(); ++i) {
    X509_up_ref(own[i].get());
    sk_X509_push(others.get(), own[i].get());
  }
  const StoreContext context(X509_STORE_CTX_new());
  X509_STORE_CTX_init(context.get(), store.get(), own[0].get(), others.get());
  X509_STORE_CTX_set_purpose(context.get(), purpose);
  if (X509_verify_cert(context.get()) == 1) return absl::OkStatus();
  ERR_clear_error();
  return Bad("certificate", files.cert,
             absl::StrCat("the authority in ", files.ca, " does not vouch for it (",
                          X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get())),
                          "): take certificate and authority of one set"));
}

absl::Status CheckKey(const std::string& pem, X509* certificate, const CertificateFiles& files) {
  const Key key = ParseKey(pem);
  if (key == nullptr) {
    return Bad("key", files.key, "expected a private key in PEM form without a password");
  }
  const bool match = X509_check_private_key(certificate, key.get()) == 1;
  ERR_clear_error();
  if (match) return absl::OkStatus();
  return Bad("key", files.key,
             absl::StrCat("it is not the key of the certificate in ", files.cert,
                          ": take both of one set"));
}

}  // namespace

absl::StatusOr<Certificates> ReadCertificates(const CertificateFiles& files, CertificateUse use) {
  Certificates out;
  COHORT_ASSIGN_OR_RETURN(out.ca_pem, Read("authority", files.ca));
  COHORT_ASSIGN_OR_RETURN(out.cert_pem, Read("certificate", files.cert));
  COHORT_ASSIGN_OR_RETURN(out.key_pem, Read("key", files.key));
  const std::vector<Certificate> ca = ParseCertificates(out.ca_pem);
  if (ca.empty()) return Bad("authority", files.ca, "expected a certificate in PEM form");
  const std::vector<Certificate> own = ParseCertificates(out.cert_pem);
  if (own.empty()) return Bad("certificate", files.cert, "expected a certificate in PEM form");
  X509* const certificate = own[0].get();
  COHORT_RETURN_IF_ERROR(CheckKey(out.key_pem, certificate, files));
  COHORT_RETURN_IF_ERROR(CheckDates(certificate, files.cert));
  if (use.server) COHORT_RETURN_IF_ERROR(CheckChain(own, ca, X509_PURPOSE_SSL_SERVER, files));
  if (use.client) COHORT_RETURN_IF_ERROR(CheckChain(own, ca, X509_PURPOSE_SSL_CLIENT, files));
  out.begins = TimeOf(X509_get0_notBefore(certificate));
  out.expires = TimeOf(X509_get0_notAfter(certificate));
  ReadNames(certificate, &out);
  return out;
}

}  // namespace cohort
