// Certificates for tests, made on the spot: authorities, and what they sign.
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/rpc/certificates.h"
#include "common/rpc/security.h"

namespace cohort {

// An authority with a key of its own. Not thread-safe.
class TestAuthority {
 public:
  struct Request {
    std::string role_name = {};                        // the text of the role, or none
    std::string names = "DNS:localhost,IP:127.0.0.1";  // further alternative names
    absl::Duration valid_for = absl::Hours(24);        // negative: expired
    std::string usage = {};                            // empty: for anything
  };

  explicit TestAuthority(const std::string& name = "test authority")
      : key_(EVP_EC_gen("P-256")), certificate_(X509_new()) {
    Begin(certificate_.get(), name, absl::Hours(48));
    X509_set_issuer_name(certificate_.get(), X509_get_subject_name(certificate_.get()));
    X509_set_pubkey(certificate_.get(), key_.get());
    Extend(certificate_.get(), NID_basic_constraints, "critical,CA:TRUE");
    X509_sign(certificate_.get(), key_.get(), EVP_sha256());
  }

  std::string pem() const { return Pem(certificate_.get()); }

  // Writes ca.crt, PREFIX.crt and PREFIX.key into `folder`.
  CertificateFiles Write(const std::string& folder, const std::string& prefix,
                         const Request& request) const {
    const Key key(EVP_EC_gen("P-256"));
    const Certificate certificate(X509_new());
    Begin(certificate.get(), prefix, request.valid_for);
    X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate_.get()));
    X509_set_pubkey(certificate.get(), key.get());
    std::string names = request.role_name.empty() ? "" : absl::StrCat("URI:", request.role_name);
    if (!request.names.empty()) absl::StrAppend(&names, names.empty() ? "" : ",", request.names);
    if (!names.empty()) Extend(certificate.get(), NID_subject_alt_name, names);
    if (!request.usage.empty()) Extend(certificate.get(), NID_ext_key_usage, request.usage);
    X509_sign(certificate.get(), key_.get(), EVP_sha256());
    const CertificateFiles files = {absl::StrCat(folder, "/ca.crt"),
                                    absl::StrCat(folder, "/", prefix, ".crt"),
                                    absl::StrCat(folder, "/", prefix, ".key")};
    Put(files.ca, pem());
    Put(files.cert, Pem(certificate.get()));
    Put(files.key, Pem(key.get()));
    return files;
  }
  CertificateFiles Write(const std::string& folder, Role role) const {
    return Write(folder, std::string(RoleName(role)), {.role_name = RoleUri(role)});
  }

 private:
  struct Free {
    void operator()(X509* certificate) const { X509_free(certificate); }
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
    void operator()(BIO* bio) const { BIO_free(bio); }
  };
  using Certificate = std::unique_ptr<X509, Free>;
  using Key = std::unique_ptr<EVP_PKEY, Free>;
  using Bio = std::unique_ptr<BIO, Free>;

  static void Begin(X509* certificate, const std::string& name, absl::Duration valid_for) {
    static int64_t serial = 0;
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set_int64(X509_get_serialNumber(certificate), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -7200);
    X509_gmtime_adj(X509_getm_notAfter(certificate),
                    static_cast<long>(absl::ToInt64Seconds(valid_for)));
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  }
  static void Extend(X509* certificate, int kind, const std::string& value) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, kind, value.c_str());
    COHORT_CHECK(extension != nullptr) << value;
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
  static std::string Text(BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    return std::string(data, static_cast<size_t>(size));
  }
  static std::string Pem(X509* certificate) {
    const Bio bio(BIO_new(BIO_s_mem()));
    PEM_write_bio_X509(bio.get(), certificate);
    return Text(bio.get());
  }
  static std::string Pem(EVP_PKEY* key) {
    const Bio bio(BIO_new(BIO_s_mem()));
    PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
    return Text(bio.get());
  }
  static void Put(const std::string& path, const std::string& text) {
    const absl::Status written = WriteFileAtomic(path, text);
    COHORT_CHECK(written.ok()) << written;
  }

  const Key key_;
  const Certificate certificate_;
};

}  // namespace cohort
