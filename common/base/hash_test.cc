#include "common/base/hash.h"

#include <gtest/gtest.h>

namespace cohort {
namespace {

TEST(Sha256Test, MatchesTheStandardsExample) {
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256Test, DoesNotDependOnHowTheBytesAreSplit) {
  Sha256 sha;
  sha.Update("a");
  sha.Update("");
  sha.Update("bc");
  EXPECT_EQ(sha.HexDigest(), Sha256Hex("abc"));
}

TEST(Xxh3Test, MatchesTheReferenceForTheEmptyInput) {
  EXPECT_EQ(HexEncode(Xxh3("", 0)), "99aa06d3014798d86001c324468d497f");
}

TEST(Xxh3Test, PiecesAreHashedAsOne) {
  const std::string bytes(1000, 'x');
  const absl::string_view all(bytes);
  EXPECT_EQ(Xxh3({all.substr(0, 1), all.substr(1, 0), all.substr(1, 600), all.substr(601)}),
            Xxh3(bytes.data(), bytes.size()));
  EXPECT_EQ(Xxh3({}), Xxh3("", 0));
}

}  // namespace
}  // namespace cohort
