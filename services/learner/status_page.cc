#include "services/learner/status_page.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "common/base/hash.h"
#include "common/html/html.h"
#include "common/telemetry/metric_names.h"
#include "services/learner/page_assets.h"
#include "services/learner/status_plots.h"

namespace cohort {
namespace {

constexpr int kWorkersShown = 64;
constexpr double kMostOfTheTime = 0.5, kLittle = 0.15, kTooSmall = 0.005;  // shares of a step
constexpr char kPaused[] = "paused";

constexpr char kIcon[] =
    "<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' "
    "viewBox='0 0 16 16'%3E%3Cpath d='M2 13 6 8l3 3 5-8' fill='none' stroke='%230072b2' "
    "stroke-width='2.2' stroke-linecap='round' stroke-linejoin='round'/%3E%3C/svg%3E\">";
// Who runs no scripts reloads.
constexpr char kHead[] = "<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>";

struct PhaseWords {
  const char* phase;
  const char* words;
  const char* style;  // of the mark: what it says of the run
};
constexpr PhaseWords kPhases[] = {{metric::kPhaseWaitBatch, "waiting for groups", "wait"},
                                  {"train", "training", "go"},
                                  {metric::kPhasePublish, "publishing weights", "go"},
                                  {metric::kPhaseEval, "evaluating", "go"},
                                  {metric::kPhaseCheckpoint, "writing a checkpoint", "go"},
                                  {metric::kPhaseOther, "between steps", "wait"},
                                  {kPaused, "paused", "stop"}};

// Text as it is where it is no phase: what a learner that starts waits for.
PhaseWords WordsOf(const std::string& phase) {
  for (const PhaseWords& words : kPhases) {
    if (phase == words.phase) return words;
  }
  return {phase.c_str(), phase.c_str(), "wait"};
}

std::string Seconds(double seconds) { return DurationText(absl::Seconds(seconds)); }

std::string Fact(const char* name, const std::string& value) {
  return absl::StrCat("<div><dt>", name, "</dt><dd>", EscapeHtml(value), "</dd></div>");
}

std::string Title(const v1::StatusReply& reply) {
  if (reply.run().empty()) return "Cohort";
  return absl::StrCat(reply.step(), "/", reply.steps(), " ", reply.run(), " - Cohort");
}

// ---- where it is ----

std::string Facts(const v1::StatusReply& reply) {
  if (reply.run().empty()) return "";
  const auto connected = std::count_if(reply.workers().begin(), reply.workers().end(),
                                       [](const v1::WorkerStatus& w) { return w.connected(); });
  const auto alerts = std::count_if(reply.alerts().begin(), reply.alerts().end(),
                                    [](const v1::Alert& alert) { return !alert.over(); });
  return absl::StrCat(
      "<progress max=\"", std::max<int64_t>(1, reply.steps()), "\" value=\"", reply.step(),
      "\" aria-label=\"steps done\"></progress><dl class=\"facts\">",
      Fact("step", absl::StrCat(reply.step(), " of ", reply.steps())),
      Fact("running", Seconds(reply.seconds_running())),
      Fact("left, about", reply.seconds_left() < 0 ? "-" : Seconds(reply.seconds_left())),
      Fact("weights", absl::StrCat("version ", reply.weight_version())),
      Fact("workers", absl::StrCat(connected)),
      Fact("alerts", alerts == 0 ? "none" : absl::StrCat(alerts)), "</dl>");
}

std::string Header(const v1::StatusReply& reply) {
  const PhaseWords words = WordsOf(reply.phase());
  const std::string since =
      reply.run().empty() ? "" : absl::StrCat(", ", Seconds(reply.seconds_in_phase()));
  return absl::StrCat(
      "<header id=\"top\" data-live><div class=\"top\"><span class=\"brand\">Cohort"
      "</span><h1>",
      EscapeHtml(reply.run().empty() ? "The learner starts" : reply.run()),
      "</h1><span class=\"pill ", words.style, "\">", EscapeHtml(words.words), since,
      "</span></div>", Facts(reply), "</header>\n");
}

// ---- alerts ----

std::string Ago(double unix_seconds) {
  const absl::Duration age =
      absl::Now() - absl::FromUnixSeconds(static_cast<int64_t>(unix_seconds));
  if (age < absl::Minutes(1)) return "just now";
  if (age < absl::Hours(2)) return absl::StrCat(absl::ToInt64Minutes(age), " min ago");
  return absl::StrCat(absl::ToInt64Hours(age), " h ago");
}

std::string AlertHtml(const v1::Alert& alert) {
  return absl::StrCat("<li", alert.over() ? " class=\"over\"" : "", "><b>",
                      EscapeHtml(alert.name()), "</b> ", EscapeHtml(alert.text()), "<small>step ",
                      alert.step(), ", ", Ago(alert.unix_seconds()),
                      alert.count() > 1 ? absl::StrCat(", ", alert.count(), " times") : "",
                      alert.over() ? ", over" : "", "</small></li>");
}

std::string Alerts(const v1::StatusReply& reply) {
  std::string out;
  if (reply.phase() == kPaused) {
    out =
        "<p class=\"note\"><strong>The run is paused.</strong> It keeps what it has and waits: "
        "stop it (Ctrl-C or SIGTERM), change what the alert names, and go on as it says.</p>";
  }
  if (reply.alerts_size() > 0) {
    out += "<h2 class=\"sr\">Alerts</h2><ul class=\"alerts\">";
    for (const v1::Alert& alert : reply.alerts()) out += AlertHtml(alert);
    out += "</ul>";
  }
  return absl::StrCat("<section id=\"alerts\" role=\"status\" data-live>", out, "</section>\n");
}

// ---- who waits for whom ----

struct Share {
  const char* phase;
  const char* words;
  const char* style;
};
constexpr Share kShares[] = {{metric::kPhaseWaitBatch, "waits for groups", "idle"},
                             {metric::kPhasePrepare, "prepares", "k5"},
                             {metric::kPhaseForward, "forward", "k0"},
                             {metric::kPhaseBackward, "backward", "k2"},
                             {metric::kPhaseAllReduce, "all-reduce", "k3"},
                             {metric::kPhaseOptimizer, "optimizer", "k7"},
                             {metric::kPhaseBeside, "critic, process model", "k4"},
                             {metric::kPhasePublish, "publishes", "k1"},
                             {metric::kPhaseCheckpoint, "checkpoint", "k6"}};

struct Part {
  std::string words, style;
  double seconds = 0;
};

// A bar of 1000 units with its key; parts add up to `total`.
std::string Bar(const std::string& label, const std::vector<Part>& parts, double total) {
  std::string bar, keys;
  double from = 0;
  for (const Part& part : parts) {
    if (part.seconds < kTooSmall * total) continue;
    const double width = 1000 * part.seconds / total;
    absl::StrAppendFormat(&bar,
                          "<rect class=\"%s\" x=\"%.1f\" y=\"0\" width=\"%.1f\" height=\"10\"/>",
                          part.style, from, width);
    absl::StrAppendFormat(&keys, "<li><i class=\"%s\"></i>%s %.0f %%</li>", part.style, part.words,
                          100 * part.seconds / total);
    from += width;
  }
  return absl::StrCat(
      "<div><h3>", label,
      "</h3><svg class=\"bar\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" "
      "aria-hidden=\"true\">",
      bar, "</svg><ul class=\"keys\">", keys, "</ul></div>");
}

std::string Verdict(const v1::StatusReply& reply, double learner, double workers) {
  if (reply.max_staleness() == 0) {
    return "Synchronous (rollout.max_staleness 0): learner and workers take turns, and each waits "
           "while the other works.";
  }
  if (learner > kMostOfTheTime && workers < kLittle) {
    return "The learner waits for groups most of the time: more workers would make steps shorter.";
  }
  if (workers > kMostOfTheTime && learner < kLittle) {
    return "Workers wait for the learner most of the time: fewer would do.";
  }
  if (learner < kLittle && workers < kLittle) return "Balanced: nobody waits much.";
  return "Both wait for a part of the time.";
}

std::string Waits(const v1::StatusReply& reply) {
  double total = 0;
  for (const auto& [phase, seconds] : reply.phase_seconds()) total += seconds;
  if (total <= 0) return "";
  std::vector<Part> parts;
  double left = total;
  for (const Share& share : kShares) {
    const auto found = reply.phase_seconds().find(share.phase);
    if (found == reply.phase_seconds().end()) continue;
    parts.push_back({share.words, share.style, found->second});
    left -= found->second;
  }
  parts.push_back({"other", "rest", std::max(0.0, left)});
  const auto waits = reply.phase_seconds().find(metric::kPhaseWaitBatch);
  const double learner = waits == reply.phase_seconds().end() ? 0 : waits->second / total;
  const double idle = std::min(total, reply.worker_idle_seconds());
  return absl::StrCat(
      "<p class=\"verdict\">", Verdict(reply, learner, idle / total), "</p><div class=\"waits\">",
      Bar(absl::StrFormat("Learner: %.1f s a step", total), parts, total),
      Bar("A worker meanwhile",
          {{"works", "k0", total - idle}, {"waits for a prompt", "idle", idle}}, total),
      "</div>");
}

int64_t Count(const v1::StatusReply& reply, const char* name) {
  const auto found = reply.ordinals().find(name);
  return found == reply.ordinals().end() ? 0 : found->second;
}

// Prompts on their way, then how the others ended.
std::string Prompts(const v1::StatusReply& reply) {
  if (reply.ordinals().empty()) return "";
  static constexpr const char* kFirst[] = {"dispatched", "in_flight", "buffered", "training",
                                           "trained"};
  std::string out = absl::StrCat("<h3>Prompts</h3><dl class=\"facts\">",
                                 Fact("with workers", absl::StrCat(Count(reply, "in_flight"))),
                                 Fact("buffered", absl::StrCat(Count(reply, "buffered"))),
                                 Fact("in training", absl::StrCat(Count(reply, "training"))),
                                 Fact("room for", absl::StrCat(reply.queue_capacity())),
                                 Fact("trained", absl::StrCat(Count(reply, "trained"))));
  const std::map<std::string, int64_t> sorted(reply.ordinals().begin(), reply.ordinals().end());
  for (const auto& [name, count] : sorted) {
    const bool first = std::find(std::begin(kFirst), std::end(kFirst), name) != std::end(kFirst);
    if (first || count == 0) continue;
    const std::string words = absl::StrReplaceAll(name, {{"_", " "}});
    out += Fact(EscapeHtml(words).c_str(), absl::StrCat(count));
  }
  return out + "</dl>";
}

std::string Flow(const v1::StatusReply& reply) {
  const std::string content = absl::StrCat(Waits(reply), Prompts(reply));
  return absl::StrCat("<section id=\"flow\" aria-labelledby=\"h-flow\" data-live>",
                      content.empty() ? "" : "<h2 id=\"h-flow\">Who waits for whom?</h2>", content,
                      "</section>\n");
}

// ---- workers ----

Cells WorkerRow(const v1::WorkerStatus& worker, int64_t newest) {
  const int64_t behind = std::max<int64_t>(0, newest - worker.held_version());
  const std::string state = EscapeHtml(worker.state());
  return {EscapeHtml(worker.worker_id()),
          absl::StrCat("<span class=\"", state, "\">", state, "</span>"),
          behind == 0 || !worker.connected()
              ? absl::StrCat(worker.held_version())
              : absl::StrCat(worker.held_version(), " <small>(", behind, " behind)</small>"),
          absl::StrCat(worker.leases()),
          absl::StrCat(worker.running_rows()),
          absl::StrFormat("%.0f", worker.tokens_per_second()),
          absl::StrFormat("%.1f s ago", worker.last_seen_seconds()),
          EscapeHtml(worker.http_address())};
}

// Those that are there first.
std::string Workers(const v1::StatusReply& reply) {
  std::string out = "<h2 id=\"h-workers\">Workers</h2>";
  if (reply.workers().empty()) {
    out += "<p class=\"muted\">None has connected yet.</p>";
  } else {
    std::vector<const v1::WorkerStatus*> workers;
    for (const v1::WorkerStatus& worker : reply.workers()) workers.push_back(&worker);
    std::stable_partition(workers.begin(), workers.end(),
                          [](const v1::WorkerStatus* worker) { return worker->connected(); });
    std::vector<Cells> rows;
    for (const v1::WorkerStatus* worker : workers) {
      if (rows.size() == kWorkersShown) break;
      rows.push_back(WorkerRow(*worker, reply.weight_version()));
    }
    const size_t left = workers.size() - rows.size();
    out += Table(left == 0 ? "" : absl::StrCat(left, " more are left out."),
                 {"worker", "state", "version", "leases", "rows", "tokens/s", "last seen", "http"},
                 rows);
  }
  return absl::StrCat("<section id=\"workers\" aria-labelledby=\"h-workers\" data-live>",
                      reply.run().empty() ? "" : out, "</section>\n");
}

// ---- samples ----

std::string RewardText(const v1::Sample& sample) {
  if (!sample.has_reward()) {
    return absl::StrCat("<b>no reward</b><span>", EscapeHtml(sample.note()), "</span>");
  }
  std::string out = absl::StrFormat("<b>reward %.3g</b>", sample.reward());
  if (sample.has_accuracy()) {
    out += sample.accuracy() >= 1 ? "<span class=\"verdict-right\">right</span>"
           : sample.accuracy() <= 0
               ? "<span class=\"verdict-wrong\">wrong</span>"
               : absl::StrFormat("<span>right by %.0f %%</span>", 100 * sample.accuracy());
  }
  if (sample.rewards_size() < 2) return out;
  const std::map<std::string, double> sorted(sample.rewards().begin(), sample.rewards().end());
  for (const auto& [name, value] : sorted) {
    absl::StrAppendFormat(&out, "<span>%s %.3g</span>", EscapeHtml(name), value);
  }
  return out;
}

std::string TextBlock(const char* name, const std::string& id, const std::string& text) {
  return absl::StrCat("<div><h4>", name, "</h4><pre tabindex=\"0\" id=\"", id, "\" aria-label=\"",
                      name, "\">", EscapeHtml(text), "</pre></div>");
}

std::string SampleHtml(const v1::Sample& sample, int index) {
  const std::string id = absl::StrCat("s-", sample.step(), "-", sample.ordinal(), "-", index);
  std::string about =
      absl::StrCat("<span>step ", sample.step(), "</span><span>", sample.tokens(), " tokens");
  if (sample.finish_reason() == "length") about += ", cut at the limit";
  if (sample.finish_reason() == "aborted") about += ", aborted";
  absl::StrAppend(&about, "</span><span>", EscapeHtml(sample.source()), "</span><span>",
                  EscapeHtml(sample.worker()), "</span>");
  if (!sample.role().empty())
    absl::StrAppend(&about, "<span>", EscapeHtml(sample.role()), "</span>");
  return absl::StrCat("<article class=\"one\" id=\"", id, "\"><header>", RewardText(sample), about,
                      "</header><div class=\"texts\">",
                      TextBlock("Prompt", id + "-p", sample.prompt()),
                      TextBlock("Answer", id + "-a", sample.completion()),
                      sample.gold().empty() ? "" : TextBlock("Gold", id + "-g", sample.gold()),
                      "</div></article>\n");
}

std::string Samples(const v1::StatusReply& reply) {
  std::string out;
  std::map<std::pair<int64_t, uint64_t>, int> seen;  // rows of one prompt
  for (const v1::Sample& sample : reply.samples()) {
    out += SampleHtml(sample, seen[{sample.step(), sample.ordinal()}]++);
  }
  return absl::StrCat("<section id=\"samples\" aria-labelledby=\"h-samples\" data-live>",
                      out.empty() ? ""
                                  : absl::StrCat("<h2 id=\"h-samples\">Newest samples</h2>"
                                                 "<div class=\"samples\">",
                                                 out, "</div>"),
                      "</section>\n");
}

std::string Footer(const v1::StatusReply& reply) {
  const std::string metrics = reply.http_address().empty() ? ""
                              : reply.http_address() == reply.page_address()
                                  ? " &middot; <a href=\"/metrics\">Metrics for Prometheus</a>"
                                  : absl::StrCat(" &middot; Metrics for Prometheus at ",
                                                 EscapeHtml(reply.http_address()), "/metrics");
  return absl::StrCat("<footer id=\"foot\" data-live><a href=\"/status\">This page as JSON</a>",
                      metrics, " &middot; Nothing here can stop or change the run.</footer>\n");
}

std::string CspHash(const std::string& text) {
  return absl::StrCat("'sha256-", absl::Base64Escape(absl::HexStringToBytes(Sha256Hex(text))), "'");
}

}  // namespace

std::string StatusPage(const v1::StatusReply& reply) {
  return Document(
      {.title = Title(reply),
       .style = StatusStyle(),
       .head = absl::StrCat(kIcon, kHead),
       .body = absl::StrCat("<a class=\"skip\" href=\"#main\">To the curves</a>", Header(reply),
                            "<p class=\"note\" id=\"lost\" role=\"alert\" hidden></p>\n",
                            Alerts(reply), "<main id=\"main\">", CurveSection(reply), Flow(reply),
                            Workers(reply), Samples(reply), "</main>", Footer(reply), "<script>",
                            StatusScript(), "</script>")});
}

std::string StatusPagePolicy() {
  return absl::StrCat("default-src 'none'; script-src ", CspHash(StatusScript()), "; style-src ",
                      CspHash(StatusStyle()),
                      "; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
                      "frame-ancestors 'none'");
}

}  // namespace cohort
