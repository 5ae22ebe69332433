#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "common/base/status_matchers.h"
#include "common/concurrency/bounded_queue.h"
#include "common/concurrency/executor.h"
#include "common/concurrency/stop_token.h"

namespace cohort {
namespace {

absl::Time Soon() { return absl::Now() + absl::Seconds(20); }
absl::Time AlreadyPast() { return absl::Now() - absl::Seconds(1); }

TEST(BoundedQueueTest, KeepsOrderAndItsBound) {
  BoundedQueue<int> queue(2);
  COHORT_EXPECT_OK(queue.Push(1, Soon()));
  COHORT_EXPECT_OK(queue.Push(2, Soon()));
  EXPECT_THAT(queue.Push(3, AlreadyPast()),
              StatusIs(absl::StatusCode::kDeadlineExceeded, testing::_));
  EXPECT_EQ(*queue.Pop(Soon()), 1);
  COHORT_EXPECT_OK(queue.Push(3, Soon()));
  EXPECT_EQ(*queue.Pop(Soon()), 2);
  EXPECT_EQ(*queue.Pop(Soon()), 3);
  EXPECT_THAT(queue.Pop(AlreadyPast()), StatusIs(absl::StatusCode::kDeadlineExceeded, testing::_));
}

TEST(BoundedQueueTest, CloseDropsAndWakesEverybody) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  COHORT_EXPECT_OK(queue.Push(std::make_unique<int>(1), Soon()));
  absl::Status pushed;
  std::thread pusher([&] { pushed = queue.Push(std::make_unique<int>(2), Soon()); });
  queue.Close();
  pusher.join();
  EXPECT_THAT(pushed, StatusIs(absl::StatusCode::kCancelled, testing::_));
  EXPECT_THAT(queue.Pop(Soon()), StatusIs(absl::StatusCode::kCancelled, testing::_));
}

TEST(BoundedQueueTest, DrainEmptiesAndThenEnds) {
  BoundedQueue<int> queue(4);
  COHORT_EXPECT_OK(queue.Push(1, Soon()));
  queue.Drain();
  EXPECT_THAT(queue.Push(2, Soon()), StatusIs(absl::StatusCode::kCancelled, testing::_));
  EXPECT_EQ(*queue.Pop(Soon()), 1);
  EXPECT_THAT(queue.Pop(Soon()), StatusIs(absl::StatusCode::kCancelled, testing::_));
}

TEST(BoundedQueueTest, MovesEverythingOnceBetweenManyThreads) {
  BoundedQueue<int> queue(3);
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) (void)queue.Push(t * 500 + i, Soon());
    });
  }
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      for (auto item = queue.Pop(Soon()); item.ok(); item = queue.Pop(Soon())) sum += *item;
    });
  }
  for (int t = 0; t < 3; ++t) threads[static_cast<size_t>(t)].join();
  queue.Drain();
  threads[3].join();
  threads[4].join();
  EXPECT_EQ(sum.load(), 1500 * 1499 / 2);
}

TEST(ExecutorTest, RunsInOrderOnOneThreadAndFinishesWhatWasPosted) {
  std::vector<int> seen;
  Executor executor("test", 1);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(executor.Post([&seen, i] { seen.push_back(i); }));
  executor.Stop();
  std::vector<int> expected(100);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(seen, expected);
  EXPECT_FALSE(executor.Post([] {}));
}

TEST(StopTokenTest, InterruptsAWait) {
  StopToken stop;
  EXPECT_FALSE(stop.WaitFor(absl::ZeroDuration()));
  std::thread stopper([&] { stop.Stop(); });
  EXPECT_TRUE(stop.WaitFor(absl::Seconds(20)));
  stopper.join();
  EXPECT_TRUE(stop.stopped());
}

TEST(TickerTest, TicksUntilDestroyed) {
  absl::Notification third;
  int ticks = 0;
  {
    Ticker ticker("tick", absl::Milliseconds(1), [&] {
      if (++ticks == 3) third.Notify();
    });
    EXPECT_TRUE(third.WaitForNotificationWithTimeout(absl::Seconds(20)));
  }
  EXPECT_GE(ticks, 3);
}

}  // namespace
}  // namespace cohort
