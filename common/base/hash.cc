#include "common/base/hash.h"

#include <openssl/evp.h>
#include <xxhash.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "common/base/log.h"

namespace cohort {

Hash128 Xxh3(const void* data, size_t size) {
  const XXH128_hash_t hash = XXH3_128bits(data, size);
  return {.high = hash.high64, .low = hash.low64};
}

Hash128 Xxh3(absl::Span<const absl::string_view> pieces) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       &XXH3_freeState);
  COHORT_CHECK(state != nullptr && XXH3_128bits_reset(state.get()) == XXH_OK);
  for (absl::string_view piece : pieces) {
    COHORT_CHECK(XXH3_128bits_update(state.get(), piece.data(), piece.size()) == XXH_OK);
  }
  const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
  return {.high = hash.high64, .low = hash.low64};
}

uint64_t Xxh3Low(absl::string_view data) { return Xxh3(data.data(), data.size()).low; }

std::string HexEncode(const Hash128& hash) {
  return absl::StrFormat("%016x%016x", hash.high, hash.low);
}

struct Sha256::Impl {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~Impl() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : impl_(std::make_unique<Impl>()) {
  COHORT_CHECK(EVP_DigestInit_ex(impl_->context, EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;

void Sha256::Update(const void* data, size_t size) {
  COHORT_CHECK(EVP_DigestUpdate(impl_->context, data, size) == 1);
}

std::string Sha256::HexDigest() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  COHORT_CHECK(EVP_DigestFinal_ex(impl_->context, digest, &size) == 1);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), size));
}

std::string Sha256Hex(absl::string_view data) {
  Sha256 sha;
  sha.Update(data);
  return sha.HexDigest();
}

std::string HashOfFields(const std::map<std::string, std::string>& fields) {
  Sha256 sha;
  for (const auto& [name, value] : fields) {
    for (absl::string_view part : {absl::string_view(name), absl::string_view("="),
                                   absl::string_view(value), absl::string_view("\n")}) {
      sha.Update(part);
    }
  }
  return sha.HexDigest();
}

}  // namespace cohort
