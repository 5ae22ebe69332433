#include "common/telemetry/flight_recorder.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>

namespace cohort {
namespace {

constexpr int kFatalSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
std::atomic<const FlightRecorder*> fatal_recorder{nullptr};

int64_t NowMicros() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1000000 + now.tv_nsec / 1000;
}

// Decimal digits, padded with zeros to `width`. Signal-safe, unlike printf.
char* PutNumber(int64_t value, int width, char* out) {
  std::array<char, 20> digits{};
  int count = 0;
  for (; value > 0 || count < width || count == 0; value /= 10) {
    digits[static_cast<size_t>(count++)] = static_cast<char>('0' + value % 10);
  }
  while (count > 0) *out++ = digits[static_cast<size_t>(--count)];
  return out;
}

char* PutTime(int64_t unix_micros, char* out) {
  const int64_t seconds = unix_micros / 1000000;
  out = PutNumber(seconds / 3600 % 24, 2, out);
  *out++ = ':';
  out = PutNumber(seconds / 60 % 60, 2, out);
  *out++ = ':';
  out = PutNumber(seconds % 60, 2, out);
  *out++ = '.';
  return PutNumber(unix_micros % 1000000, 6, out);
}

void OnFatalSignal(int signal) {
  const FlightRecorder* recorder = fatal_recorder.exchange(nullptr);
  if (recorder != nullptr) recorder->DumpTo(STDERR_FILENO);
  std::signal(signal, SIG_DFL);
  raise(signal);
}

}  // namespace

FlightRecorder::FlightRecorder(size_t events) : slots_(std::max<size_t>(1, events)) {}

void FlightRecorder::Record(absl::string_view event) {
  const uint64_t number = next_.fetch_add(1, std::memory_order_relaxed);
  Slot& slot = slots_[number % slots_.size()];
  slot.sequence.store(0, std::memory_order_release);
  slot.unix_micros.store(NowMicros(), std::memory_order_relaxed);
  slot.thread.store(syscall(SYS_gettid), std::memory_order_relaxed);
  const size_t size = std::min(event.size(), kEventBytes - 1);
  for (size_t i = 0; i < size; ++i) {
    slot.text[i].store(event[i] == '\n' ? ' ' : event[i], std::memory_order_relaxed);
  }
  slot.text[size].store('\0', std::memory_order_relaxed);
  slot.sequence.store(number + 1, std::memory_order_release);
}

size_t FlightRecorder::Format(uint64_t number, std::array<char, kEventBytes + 64>* line) const {
  const Slot& slot = slots_[number % slots_.size()];
  if (slot.sequence.load(std::memory_order_acquire) != number + 1) return 0;
  char* out = PutTime(slot.unix_micros.load(std::memory_order_relaxed), line->data());
  *out++ = ' ';
  *out++ = '[';
  out = PutNumber(slot.thread.load(std::memory_order_relaxed), 1, out);
  *out++ = ']';
  *out++ = ' ';
  for (const std::atomic<char>& c : slot.text) {
    const char value = c.load(std::memory_order_relaxed);
    if (value == '\0') break;
    *out++ = value;
  }
  *out++ = '\n';
  // Overwritten while it was read: leave it out.
  if (slot.sequence.load(std::memory_order_acquire) != number + 1) return 0;
  return static_cast<size_t>(out - line->data());
}

std::string FlightRecorder::Dump() const {
  std::string out;
  std::array<char, kEventBytes + 64> line{};
  const uint64_t end = next_.load(std::memory_order_acquire);
  for (uint64_t i = end - std::min<uint64_t>(end, slots_.size()); i < end; ++i) {
    out.append(line.data(), Format(i, &line));
  }
  return out;
}

void FlightRecorder::DumpTo(int fd) const {
  std::array<char, kEventBytes + 64> line{};
  const uint64_t end = next_.load(std::memory_order_acquire);
  for (uint64_t i = end - std::min<uint64_t>(end, slots_.size()); i < end; ++i) {
    const size_t size = Format(i, &line);
    if (size > 0 && write(fd, line.data(), size) < 0) return;
  }
}

void FlightRecorder::InstallFatalHandler() {
  fatal_recorder.store(this);
  for (int signal : kFatalSignals) std::signal(signal, OnFatalSignal);
}

FlightRecorder& ProcessRecorder() {
  static auto* const recorder = new FlightRecorder();
  return *recorder;
}

}  // namespace cohort
