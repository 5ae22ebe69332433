#include "common/rewards/code_judge.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/rewards/fd.h"
#include "common/text/json.h"

namespace cohort {
namespace {

using nlohmann::json;

// How long a judge may go on when the answer has ended.
constexpr absl::Duration kLastWords = absl::Seconds(2);

absl::Status WriteReadable(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  if (!(file << text).flush()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the program could not be written to ", path, ": is the disk full?"));
  }
  chmod(path.c_str(), 0644);
  return absl::OkStatus();
}

// A process's end of the channel, and what ends the process.
struct Side {
  TemporaryFolder folder;
  Fd channel;
  Fd stop;
  SandboxProgram program;

  absl::Status Prepare(int end, const char* script, const CodeOptions& options) {
    channel.Set(end);
    stop.Set(eventfd(0, EFD_CLOEXEC));
    if (!stop.open()) return ErrnoStatus(errno, "sandbox: making an event");
    program.arguments = options.interpreter;
    program.arguments.push_back(folder.path() + "/run");
    program.folder = folder.path();
    program.memory_bytes = options.memory_bytes;
    program.output_bytes = options.output_bytes;
    program.channel = channel.get();
    program.stop = stop.get();
    return WriteReadable(program.arguments.back(), script);
  }
  void Stop() const {
    const uint64_t one = 1;
    (void)!write(stop.get(), &one, sizeof(one));
  }
  // The other side sees that this one has gone.
  absl::StatusOr<SandboxResult> Run() {
    absl::StatusOr<SandboxResult> result = RunInSandbox(program);
    channel.Reset();
    return result;
  }
};

std::string Request(const CodeTests& tests) {
  json request = json::object();
  if (tests.function.empty()) {
    request["tests"] = tests.code;
    request["entry_point"] = tests.entry_point;
  } else {
    request["function"] = tests.function;
    request["cases"] = tests.calls;
  }
  return request.dump(-1, ' ', true, json::error_handler_t::replace);
}

void ReadVerdict(const SandboxResult& judge, JudgedRun* run) {
  run->judge_end = judge.end;
  const json said = json::parse(judge.output, nullptr, /*allow_exceptions=*/false);
  if (!said.is_object() || judge.end != SandboxResult::End::kExited || judge.exit_code != 0) {
    run->note = judge.errors;
    return;
  }
  const std::string verdict = said.value("verdict", "");
  run->note = said.value("note", "");
  run->verdict = verdict == "right"   ? JudgedRun::Verdict::kRight
                 : verdict == "wrong" ? JudgedRun::Verdict::kWrong
                 : verdict == "void"  ? JudgedRun::Verdict::kVoid
                                      : JudgedRun::Verdict::kNone;
}

}  // namespace

absl::Duration JudgedBound(absl::Duration seconds) {
  return SandboxBound(seconds) + kLastWords + SandboxBound(absl::ZeroDuration());
}

absl::StatusOr<JudgedRun> RunJudged(const std::string& code, const CodeTests& tests,
                                    const CodeOptions& options,
                                    const std::vector<std::string>& readable) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return ErrnoStatus(errno, "sandbox: making a channel");
  }
  Side judge, guest;
  const absl::Status prepared[] = {judge.Prepare(ends[0], internal::kJudgeScript, options),
                                   guest.Prepare(ends[1], internal::kGuestScript, options)};
  for (const absl::Status& status : prepared) COHORT_RETURN_IF_ERROR(status);
  judge.program.input = Request(tests);
  judge.program.readable = guest.program.readable = readable;
  // The judge's work and its waiting for a processor are not the answer's time.
  std::atomic<pid_t> judge_pid = 0;
  judge.program.pid = &judge_pid;
  guest.program.partner = &judge_pid;
  // Waiting for the answer is not the judge's doing; it ends with the answer.
  judge.program.seconds = SandboxBound(options.seconds) + kLastWords;
  guest.program.seconds = options.seconds;
  const std::string file = guest.folder.path() + "/program.py";
  COHORT_RETURN_IF_ERROR(WriteReadable(file, code));
  guest.program.arguments.push_back(file);

  auto judging = std::async(std::launch::async, [&judge, &guest] {
    absl::StatusOr<SandboxResult> result = judge.Run();
    guest.Stop();
    return result;
  });
  absl::StatusOr<SandboxResult> answer = guest.Run();
  if (judging.wait_for(absl::ToChronoMilliseconds(kLastWords)) != std::future_status::ready) {
    judge.Stop();
  }
  const absl::StatusOr<SandboxResult> judged = judging.get();
  COHORT_RETURN_IF_ERROR(answer.status());
  COHORT_RETURN_IF_ERROR(judged.status());
  JudgedRun run;
  run.answer = *std::move(answer);
  ReadVerdict(*judged, &run);
  return run;
}

}  // namespace cohort
