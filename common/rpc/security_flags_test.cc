#include "common/rpc/security_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cohort/v1/config.pb.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/rpc/security.h"
#include "common/rpc/test_certificates.h"

namespace cohort {
namespace {

using ::testing::HasSubstr;

// Set for one test.
class Variables {
 public:
  using Values = std::vector<std::pair<std::string, std::string>>;
  explicit Variables(const Values& values) {
    for (const auto& [name, value] : values) {
      setenv(name.c_str(), value.c_str(), 1);
      names_.push_back(name);
    }
  }
  ~Variables() {
    for (const std::string& name : names_) unsetenv(name.c_str());
  }
  Variables(const Variables&) = delete;
  Variables& operator=(const Variables&) = delete;

 private:
  std::vector<std::string> names_;
};

SecurityFlags Parse(std::vector<std::string> arguments) {
  SecurityFlags flags;
  CLI::App app;
  AddSecurityFlags(&app, &flags);
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes the last one first
  app.parse(arguments);
  return flags;
}

TEST(SecurityFlagsTest, AFlagGoesBeforeItsVariable) {
  const Variables variables({{"COHORT_TLS_CA", "/env/ca"},
                             {"COHORT_TLS_CERT", "/env/cert"},
                             {"COHORT_TLS_KEY", "/env/key"},
                             {"COHORT_SECRET_FILE", "/env/secret"}});
  const SecurityFlags flags = Parse({"--tls-cert", "/flag/cert"});
  EXPECT_EQ(flags.files.ca, "/env/ca");
  EXPECT_EQ(flags.files.cert, "/flag/cert");
  EXPECT_EQ(flags.files.key, "/env/key");
  EXPECT_EQ(flags.secret_file, "/env/secret");
  EXPECT_FALSE(flags.insecure);
}

TEST(SecurityFlagsTest, InsecureIsOneOrZero) {
  {
    const Variables variables(Variables::Values{{"COHORT_INSECURE", "1"}});
    EXPECT_TRUE(Parse({}).insecure);
  }
  {
    const Variables variables(Variables::Values{{"COHORT_INSECURE", "0"}});
    EXPECT_FALSE(Parse({}).insecure);
  }
  for (const char* other : {"2", "true", "yes", "-1"}) {
    const Variables variables(Variables::Values{{"COHORT_INSECURE", other}});
    EXPECT_THAT([] { Parse({}); }, testing::ThrowsMessage<CLI::ParseError>(
                                       AllOf(HasSubstr("COHORT_INSECURE"), HasSubstr(other))));
  }
  EXPECT_TRUE(Parse({"--insecure"}).insecure);
  EXPECT_FALSE(Parse({}).insecure);
}

TEST(SecurityFlagsTest, FilesOfTheCommandLineReplaceTheSectionsOneByOne) {
  const TemporaryFolder folder;
  const CertificateFiles learner = TestAuthority().Write(folder.path(), Role::kLearner);
  v1::TlsSection section;
  section.set_ca_file(learner.ca);
  section.set_cert_file("/nowhere.crt");
  section.set_key_file(learner.key);
  SecurityFlags flags;
  flags.files.cert = learner.cert;
  COHORT_ASSERT_OK_AND_ASSIGN(
      const auto security, MakeServerSecurity(flags, section, Role::kLearner, "/nowhere/secret"));
  EXPECT_TRUE(security->tls());
  section.set_insecure(true);  // the flag says otherwise
  COHORT_EXPECT_OK(MakeServerSecurity(flags, section, Role::kLearner, "/nowhere/secret").status());
  flags.insecure = true;
  flags.files = {};
  COHORT_ASSERT_OK_AND_ASSIGN(
      const auto open, MakeServerSecurity(flags, section, Role::kLearner, "/nowhere/secret"));
  EXPECT_FALSE(open->tls());
  COHORT_EXPECT_OK(open->CheckListen("0.0.0.0:1"));
}

TEST(SecurityFlagsTest, OneMachineLivesByASecretThatBothSidesFind) {
  const TemporaryFolder folder;
  const std::string secret = folder.path() + "/secret";
  COHORT_ASSERT_OK_AND_ASSIGN(
      const auto client,
      MakeClientSecurity({}, {}, {Role::kRollout}, {folder.path() + "/none", secret}));
  grpc::ClientContext before;  // it may be made later
  client->Prepare(&before);
  COHORT_ASSERT_OK(MakeServerSecurity({}, {}, Role::kLearner, secret).status());
  COHORT_EXPECT_OK(ReadSecretFile(secret).status());
}

TEST(SecurityFlagsTest, ASecretFileThatIsNamedMustBeThereForTheServer) {
  SecurityFlags flags;
  flags.secret_file = "/nowhere/secret";
  EXPECT_THAT(MakeServerSecurity(flags, {}, Role::kLearner, "/elsewhere"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/secret")));
}

TEST(SecurityFlagsTest, ASecretFileThatIsThereMustBeGoodForTheClient) {
  const TemporaryFolder folder;
  SecurityFlags flags;
  flags.secret_file = folder.path() + "/secret";
  COHORT_EXPECT_OK(MakeClientSecurity(flags, {}, {Role::kRollout}, {}).status());  // may come yet
  COHORT_ASSERT_OK(WriteFileAtomic(flags.secret_file, "short\n"));
  EXPECT_THAT(MakeClientSecurity(flags, {}, {Role::kRollout}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("--secret-file"), HasSubstr(flags.secret_file))));
  flags.secret_file = folder.path() + "/secret/of/a/file";
  EXPECT_THAT(MakeClientSecurity(flags, {}, {Role::kRollout}, {}).status().message(),
              HasSubstr(flags.secret_file));
}

}  // namespace
}  // namespace cohort
