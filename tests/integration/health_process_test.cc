// What /healthz and /readyz of real processes say while they start, work and are in trouble, and a
// worker that is held to a pace.
#include <httplib.h>

#include <regex>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "tests/integration/learner_process.h"

namespace cohort {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::StartsWith;

class HealthProcess : public LearnerProcess {
 protected:
  static std::string Listen(int port) { return absl::StrCat("127.0.0.1:", port); }
  // "STATUS BODY"; empty: nobody answers.
  static std::string Ask(int port, const std::string& path) {
    httplib::Client client("127.0.0.1", port);
    client.set_read_timeout(5);
    const auto answer = client.Get(path.c_str());
    return answer ? absl::StrCat(answer->status, " ", answer->body) : "";
  }
  bool Says(int port, const std::string& path, const std::string& answer) {
    return WaitFor([&] { return absl::StartsWith(Ask(port, path), answer); });
  }
  // Tokens that a worker has sampled.
  static double Tokens(int port) {
    static const std::regex kLine("\ncohort_rollout_tokens_total (\\S+)");
    const std::string text = Ask(port, "/metrics");
    std::smatch match;
    double tokens = 0;
    if (std::regex_search(text, match, kLine)) (void)absl::SimpleAtod(match[1].str(), &tokens);
    return tokens;
  }
};

TEST_F(HealthProcess, ALearnerIsHealthyFromItsStartAndReadyOnceItsRanksHaveMet) {
  WriteConfig(1000);
  const int first = FreePort(), second = FreePort();
  const auto rank0 = Learner(0, 2, {"--http-listen", Listen(first)});
  ASSERT_TRUE(Says(first, "/readyz", "503 waiting for ranks")) << rank0->Log();
  EXPECT_EQ(Ask(first, "/healthz"), "200 ok\n");
  EXPECT_THAT(Ask(first, "/status"), HasSubstr("waiting for ranks"));
  const auto rank1 = Learner(1, 2, {"--http-listen", Listen(second)});
  ASSERT_TRUE(Says(first, "/readyz", "200")) << rank0->Log();  // without any worker
  ASSERT_TRUE(Says(second, "/readyz", "200")) << rank1->Log();
  EXPECT_EQ(Ask(second, "/healthz"), "200 ok\n");
  EXPECT_THAT(Ask(first, "/metrics"), HasSubstr("cohort_learner_step"));
}

TEST_F(HealthProcess, ALearnerThatCannotKeepWhatItMakesIsNotReady) {
  WriteConfig(1000);
  const int port = FreePort();
  const auto learner = Learner(0, 1, {"--http-listen", Listen(port)});
  ASSERT_TRUE(Says(port, "/readyz", "200")) << learner->Log();
  std::filesystem::rename(Path("out"), Path("elsewhere"));
  ASSERT_TRUE(Says(port, "/readyz", "503"));
  EXPECT_THAT(Ask(port, "/readyz"), HasSubstr(Path("out")));
  EXPECT_EQ(Ask(port, "/healthz"), "200 ok\n");
  std::filesystem::rename(Path("elsewhere"), Path("out"));
  EXPECT_TRUE(Says(port, "/readyz", "200"));
}

TEST_F(HealthProcess, AWorkerHoldsItsPaceAndStillStopsAtOnce) {
  constexpr double kPace = 100;
  WriteConfig(1000);
  const auto learner = Learner();
  const int port = FreePort();
  const auto worker = Worker({"--http-listen", Listen(port), "--pace", absl::StrCat(kPace)});
  ASSERT_TRUE(WaitFor([&] { return Tokens(port) > 0; })) << worker->Log();
  EXPECT_THAT(Ask(port, "/readyz"), AnyOf(StartsWith("200"), HasSubstr("waiting for weights")));
  const double before = Tokens(port);
  const absl::Time start = absl::Now();
  ASSERT_TRUE(WaitFor([&] { return Tokens(port) >= before + 3 * kPace; }));
  const double tokens = Tokens(port) - before;
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  EXPECT_LE(tokens / seconds, 1.5 * kPace);  // a tiny model alone makes thousands
  EXPECT_GE(tokens / seconds, 0.3 * kPace);  // the machine may be busy
  worker->Signal(SIGTERM);
  EXPECT_EQ(worker->Wait(absl::Seconds(10)), 0) << worker->Log();
}

}  // namespace
}  // namespace cohort
