#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <regex>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/telemetry/flight_recorder.h"
#include "common/telemetry/jsonl_writer.h"
#include "common/telemetry/metric_names.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/phase_timer.h"
#include "common/telemetry/tensorboard_writer.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// ---- rows and files ----

MetricRow SampleRow(int step) {
  MetricRow row;
  row.Set(metric::kStep, step);
  row.Set(metric::kLoss, 0.25);
  row.Set(metric::kGradNorm, std::numeric_limits<double>::quiet_NaN());
  row.SetText(metric::kWeightsHash, "ab\"\xff");
  return row;
}

TEST(MetricRowTest, IsOneJsonObjectInOrderWithNullForNonFinite) {
  EXPECT_EQ(
      SampleRow(3).ToJson(),
      "{\"step\":3,\"loss\":0.25,\"grad_norm\":null,\"weights/hash\":\"ab\\\"\xef\xbf\xbd\"}");
}

TEST(MetricRowTest, SettingAKeyAgainReplacesIt) {
  MetricRow row = SampleRow(1);
  row.Set(metric::kLoss, 1.5);
  ASSERT_NE(row.Find("loss"), nullptr);
  EXPECT_EQ(std::get<double>(*row.Find("loss")), 1.5);
  EXPECT_EQ(row.values().size(), 4u);
}

TEST(JsonlWriterTest, AppendsWholeLinesOverRestarts) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/metrics.jsonl";
  for (int step : {1, 2}) {
    COHORT_ASSERT_OK_AND_ASSIGN(auto writer, JsonlWriter::Open(path));
    COHORT_ASSERT_OK(writer->Write(SampleRow(static_cast<int>(step))));
    COHORT_ASSERT_OK_AND_ASSIGN(std::string text, ReadFile(path));
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), step);
  }
}

TEST(JsonlWriterTest, ResumeDropsLaterStepsAndAHalfLine) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/metrics.jsonl";
  COHORT_ASSERT_OK(WriteFileAtomic(
      path, "{\"step\":1}\n{\"note\":1}\n{\"step\":2}\n{\"step\":3}\n{\"step\":2,\"lo"));
  COHORT_ASSERT_OK_AND_ASSIGN(auto writer, JsonlWriter::Resume(path, 2));
  COHORT_ASSERT_OK(writer->WriteLine("{\"step\":3,\"again\":true}"));
  COHORT_ASSERT_OK_AND_ASSIGN(std::string text, ReadFile(path));
  EXPECT_EQ(text, "{\"step\":1}\n{\"note\":1}\n{\"step\":2}\n{\"step\":3,\"again\":true}\n");
}

TEST(JsonlWriterTest, AFullDiskIsAnErrorAndNothingMore) {
  COHORT_ASSERT_OK_AND_ASSIGN(auto writer, JsonlWriter::Open("/dev/full"));
  EXPECT_THAT(writer->WriteLine("{}"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("/dev/full")));
}

TEST(JsonlWriterTest, AMissingFolderIsNamed) {
  EXPECT_THAT(JsonlWriter::Open("/no/such/folder/x").status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/no/such/folder/x")));
}

// ---- TensorBoard: read back what was written ----

TEST(Crc32cTest, MatchesThePublishedValues) {
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);              // the check value of CRC-32C
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);    // RFC 3720 B.4
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);  // RFC 3720 B.4
}

struct Event {
  double wall_time = 0;
  uint64_t step = 0;
  std::string version;
  std::vector<std::pair<std::string, float>> scalars;
};

// A reader written against the format's description, not against the writer.
class EventReader {
 public:
  explicit EventReader(std::string bytes) : bytes_(std::move(bytes)) {}

  std::vector<Event> ReadAll() {
    std::vector<Event> events;
    while (at_ < bytes_.size()) {
      const std::string length_bytes = bytes_.substr(at_, 8);
      const auto length = Fixed<uint64_t>();
      EXPECT_EQ(Unmask(Fixed<uint32_t>()), Crc32c(length_bytes));
      const std::string data = bytes_.substr(at_, length);
      at_ += length;
      EXPECT_EQ(Unmask(Fixed<uint32_t>()), Crc32c(data));
      events.push_back(ParseEvent(data));
    }
    return events;
  }

 private:
  static uint32_t Unmask(uint32_t masked) { return std::rotl(masked - 0xa282ead8u, 15); }

  template <typename T>
  T Fixed() {
    T value{};
    EXPECT_LE(at_ + sizeof(T), bytes_.size());
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<uint8_t>(bytes_.at(at_++));
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
  }
  std::string Bytes() {
    const uint64_t size = Varint();
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  static std::pair<std::string, float> ParseValue(const std::string& data) {
    EventReader in(data);
    std::pair<std::string, float> out;
    while (in.at_ < data.size()) {
      const uint64_t tag = in.Varint();
      if (tag == (1 << 3 | 2)) {
        out.first = in.Bytes();
      } else {
        EXPECT_EQ(tag, uint64_t{2 << 3 | 5});
        out.second = in.Fixed<float>();
      }
    }
    return out;
  }
  static Event ParseEvent(const std::string& data) {
    EventReader in(data);
    Event event;
    while (in.at_ < data.size()) {
      const uint64_t tag = in.Varint();
      if (tag == (1 << 3 | 1)) {
        event.wall_time = in.Fixed<double>();
      } else if (tag == (2 << 3 | 0)) {
        event.step = in.Varint();
      } else if (tag == (3 << 3 | 2)) {
        event.version = in.Bytes();
      } else {
        EXPECT_EQ(tag, uint64_t{5 << 3 | 2});
        const std::string summary = in.Bytes();
        EventReader values(summary);
        while (values.at_ < summary.size()) {
          EXPECT_EQ(values.Varint(), uint64_t{1 << 3 | 2});
          event.scalars.push_back(ParseValue(values.Bytes()));
        }
      }
    }
    return event;
  }

  std::string bytes_;
  size_t at_ = 0;
};

TEST(TensorBoardWriterTest, WritesEventsThatReadBack) {
  TemporaryFolder folder;
  COHORT_ASSERT_OK_AND_ASSIGN(auto writer, TensorBoardWriter::Open(folder.path() + "/tb"));
  MetricRow row = SampleRow(300);
  row.Set("inf", std::numeric_limits<double>::infinity());
  COHORT_ASSERT_OK(writer->Write(300, row, absl::FromUnixSeconds(1000)));
  EXPECT_THAT(writer->path(), HasSubstr("/tb/events.out.tfevents."));
  COHORT_ASSERT_OK_AND_ASSIGN(std::string bytes, ReadFile(writer->path()));
  const std::vector<Event> events = EventReader(bytes).ReadAll();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].version, "brain.Event:2");
  EXPECT_EQ(events[1].wall_time, 1000);
  EXPECT_EQ(events[1].step, 300u);
  EXPECT_THAT(events[1].scalars,
              ElementsAre(testing::Pair("step", 300.0f), testing::Pair("loss", 0.25f)));
}

TEST(TensorBoardWriterTest, EachWriterHasAFileOfItsOwn) {
  TemporaryFolder folder;
  COHORT_ASSERT_OK_AND_ASSIGN(auto a, TensorBoardWriter::Open(folder.path()));
  COHORT_ASSERT_OK_AND_ASSIGN(auto b, TensorBoardWriter::Open(folder.path()));
  EXPECT_NE(a->path(), b->path());
}

TEST(TensorBoardWriterTest, AResumedRunCutsWhatCameAfterItsStep) {
  TemporaryFolder folder;
  COHORT_ASSERT_OK_AND_ASSIGN(auto writer, TensorBoardWriter::Open(folder.path()));
  for (int64_t step : {1, 2, 300, 301})
    COHORT_ASSERT_OK(writer->Write(step, SampleRow(static_cast<int>(step))));
  COHORT_ASSERT_OK_AND_ASSIGN(std::string bytes, ReadFile(writer->path()));
  // The process died while it wrote.
  COHORT_ASSERT_OK(WriteFileAtomic(writer->path(), bytes.substr(0, bytes.size() - 3)));
  const auto steps = [&] {
    std::vector<uint64_t> found;
    for (const Event& event : EventReader(ReadFile(writer->path()).value_or("")).ReadAll()) {
      found.push_back(event.step);
    }
    return found;
  };
  COHORT_ASSERT_OK(TensorBoardWriter::Open(folder.path(), 300));
  EXPECT_THAT(steps(), ElementsAre(0, 1, 2, 300));
  COHORT_ASSERT_OK(TensorBoardWriter::Open(folder.path(), 2));
  EXPECT_THAT(steps(), ElementsAre(0, 1, 2));
  COHORT_ASSERT_OK(WriteFileAtomic(writer->path(), "no events at all"));
  COHORT_ASSERT_OK(TensorBoardWriter::Open(folder.path(), 2));
}

// ---- flight recorder and phases ----

TEST(FlightRecorderTest, KeepsTheLastEventsInOrder) {
  FlightRecorder recorder(3);
  for (int i = 0; i < 5; ++i) recorder.Record(absl::StrCat("event ", i, "\nsecond line"));
  const std::vector<std::string> lines = absl::StrSplit(recorder.Dump(), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_THAT(lines[0], HasSubstr("] event 2 second line"));
  EXPECT_THAT(lines[2], HasSubstr("] event 4 second line"));
}

TEST(FlightRecorderTest, CutsLongEvents) {
  FlightRecorder recorder(1);
  recorder.Record(std::string(10000, 'x'));
  EXPECT_LT(recorder.Dump().size(), FlightRecorder::kEventBytes + 64);
}

TEST(FlightRecorderTest, ManyThreadsNeverTearALine) {
  FlightRecorder recorder(16);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&recorder, t] {
      for (int i = 0; i < 2000; ++i) recorder.Record(std::string(50, static_cast<char>('a' + t)));
    });
  }
  for (int i = 0; i < 50; ++i) recorder.Dump();
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(recorder.Dump(), Not(testing::IsEmpty()));
}

TEST(FlightRecorderDeathTest, DumpsBeforeTheProcessDies) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        FlightRecorder recorder;
        recorder.InstallFatalHandler();
        recorder.Record("the last thing it did");
        std::abort();
      },
      "the last thing it did");
}

TEST(PhaseTimerTest, PhasesAddUpToWallTime) {
  FakeClock clock;
  PhaseTimer timer("other", &clock);
  clock.Advance(absl::Seconds(1));
  {
    PhaseTimer::Scope forward(&timer, metric::kPhaseForward);
    clock.Advance(absl::Seconds(2));
    EXPECT_EQ(timer.phase(), "forward");
    EXPECT_EQ(timer.seconds_in_phase(), 2);
  }
  clock.Advance(absl::Seconds(4));
  const std::map<std::string, double> first = timer.Take();
  EXPECT_EQ(first, (std::map<std::string, double>{{"forward", 2}, {"other", 5}}));
  clock.Advance(absl::Seconds(1));
  EXPECT_EQ(timer.Take(), (std::map<std::string, double>{{"other", 1}}));
}

}  // namespace
}  // namespace cohort
