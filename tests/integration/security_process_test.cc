// Certificates, the secret and descriptors with real processes: who trains with whom, and what is
// said when somebody may not.
#include <sys/stat.h>

#include "absl/strings/match.h"
#include "tests/integration/learner_process.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr int kBadSetup = 42;

class SecurityProcess : public LearnerProcess {
 protected:
  std::vector<std::string> Tls(const std::string& role, const std::string& folder = "certs") const {
    return {"--tls-ca",   Path(folder + "/ca.crt"),
            "--tls-cert", Path(absl::StrCat(folder, "/", role, ".crt")),
            "--tls-key",  Path(absl::StrCat(folder, "/", role, ".key"))};
  }
  void MakeCertificates(const std::string& folder = "certs") {
    const std::string make =
        absl::StrCat(source_, "/scripts/dev-certs ", Path(folder), " > ", Path("dev-certs.log"));
    ASSERT_EQ(std::system(make.c_str()), 0) << make;
  }
  // What a run of cohort prints and its exit code.
  std::pair<std::string, int> Status(const std::vector<std::string>& extra) {
    std::vector<std::string> argv = {bin_ + "/cohort", "status", "--learner", Address()};
    argv.insert(argv.end(), extra.begin(), extra.end());
    Process status(argv, Path("status.log"));
    const int code = status.Wait(absl::Seconds(30));
    return {status.Log(), code};
  }
};

TEST_F(SecurityProcess, TrainsOverTlsWithCertificatesOfTheScript) {
  MakeCertificates();
  WriteConfig(3);
  const auto learner = Learner(0, 1, Tls("learner"));
  const auto [text, code] = Status(Tls("cli"));
  EXPECT_EQ(code, 0) << text;
  const auto stranger = Status({"--secret-file", Path("out/secret")});
  EXPECT_EQ(stranger.second, 1) << "in plaintext";
  EXPECT_FALSE(std::filesystem::exists(Path("out/secret"))) << "certificates need no secret";
  const auto worker = Worker(Tls("rollout"));
  EXPECT_EQ(learner->Wait(absl::Seconds(120)), 0) << learner->Log();
  EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << worker->Log();
  EXPECT_EQ(Metrics().size(), 4U);
  EXPECT_THAT(learner->Log(), HasSubstr("refused (handshake)"));
}

TEST_F(SecurityProcess, AWorkerWithoutCertificatesIsToldWhatMayBeMissing) {
  MakeCertificates();
  WriteConfig(100000);
  const auto learner = Learner(0, 1, Tls("learner"));
  const auto worker = Worker({"--set", "rollout.connect_seconds=4"});
  EXPECT_EQ(worker->Wait(absl::Seconds(60)), 1) << worker->Log();
  EXPECT_THAT(worker->Log(),
              AllOf(HasSubstr("waiting for learner at"),
                    HasSubstr("one side has certificates and the other has none (--tls-ca")));
}

TEST_F(SecurityProcess, TheScriptForCertificatesRefusesInOneLine) {
  for (const std::string wrong :
       {"--days 99999999", "--days 0", "--dns a..b", "--dns -a", "--role chief"}) {
    const std::string make = absl::StrCat(source_, "/scripts/dev-certs ", Path("refused"), " ",
                                          wrong, " > ", Path("refused.log"), " 2>&1");
    EXPECT_NE(std::system(make.c_str()), 0) << wrong;
    const std::string flag = wrong.substr(0, wrong.find(' '));
    EXPECT_THAT(ErrorLines(ReadFile(Path("refused.log")).value_or("")),
                OneErrorLine("dev-certs", flag + ": expected "))
        << wrong;
  }
}

TEST_F(SecurityProcess, AWorkerOfAnotherAuthorityWaitsAndTheLearnerSaysWhy) {
  MakeCertificates();
  MakeCertificates("others");
  WriteConfig(100000);
  const auto learner = Learner(0, 1, Tls("learner"));
  const auto worker = Worker(Tls("rollout", "others"));
  EXPECT_TRUE(WaitFor([&] {
    return absl::StrContains(worker->Log(), "last refused: a certificate of another authority");
  })) << worker->Log();
  EXPECT_FALSE(Trained(1));
}

TEST_F(SecurityProcess, TheSecretIsTheUsersAloneAndTheRunsOwn) {
  WriteConfig(100000);
  const auto learner = Learner();
  const auto worker = Worker();
  ASSERT_TRUE(WaitFor([&] { return Trained(1); })) << learner->Log() << worker->Log();
  struct stat info{};
  ASSERT_EQ(stat(Path("out/secret").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  const std::string secret = ReadFile(Path("out/secret"))->substr(0, 64);

  const auto without = Status({});
  EXPECT_EQ(without.second, 1);
  EXPECT_THAT(without.first, HasSubstr("--secret-file"));
  EXPECT_EQ(Status({"--secret-file", Path("out/secret")}).second, 0);
  for (const std::string& log : {learner->Log(), worker->Log(), without.first}) {
    EXPECT_FALSE(absl::StrContains(log, secret));
  }
}

TEST_F(SecurityProcess, WhatIsWrongIsSaidInOneLineBeforeAnythingStarts) {
  MakeCertificates();
  WriteConfig(3);
  const auto learner = Learner(0, 1, Tls("rollout"));
  EXPECT_EQ(learner->Wait(absl::Seconds(60)), kBadSetup);
  EXPECT_THAT(ErrorLines(learner->Log()),
              testing::ElementsAre(AllOf(HasSubstr("expected the role learner"),
                                         HasSubstr("urn:cohort:role:rollout"))));
  Process open({bin_ + "/cohort-learner", "--config", Path("run.yaml"), "--out", Path("out"),
                "--listen", "0.0.0.0:0"},
               Path("open.log"));
  EXPECT_EQ(open.Wait(absl::Seconds(60)), kBadSetup);
  EXPECT_THAT(ErrorLines(open.Log()),
              testing::ElementsAre(
                  AllOf(HasSubstr("plaintext stays on loopback"), HasSubstr("--insecure"))));
}

// Idle connections take every descriptor that the learner has; a worker that comes later serves.
TEST_F(SecurityProcess, AWorkerConnectsAfterDescriptorsHadRunOut) {
  WriteConfig(3);
  const std::string command =
      absl::StrCat("ulimit -n 160; exec ", bin_, "/cohort-learner --config ", Path("run.yaml"),
                   " --listen 127.0.0.1:0 --out ", Path("out"));
  Process learner({"/bin/bash", "-c", command}, Path("learner-0.log"));
  const std::string address = Address();
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::vector<int> idle;
  for (int i = 0; i < 300; ++i) {
    idle.push_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(idle.back(), reinterpret_cast<sockaddr*>(&where), sizeof(where)), 0);
  }
  EXPECT_TRUE(WaitFor([&] {
    return absl::StrContains(learner.Log(), "refused (too_many_connections)");
  })) << learner.Log();
  const auto worker = Worker();  // the idle ones are cut off after their handshake's limit
  EXPECT_EQ(learner.Wait(absl::Seconds(120)), 0) << learner.Log();
  EXPECT_EQ(worker->Wait(absl::Seconds(20)), 0) << worker->Log();
  for (const int fd : idle) close(fd);
}

}  // namespace
}  // namespace cohort
