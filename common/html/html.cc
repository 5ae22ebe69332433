#include "common/html/html.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/base/utf8.h"

namespace cohort {
namespace {

constexpr char kStyle[] = R"(
:root{color-scheme:light dark;--text:#1b1f24;--muted:#565d66;--page:#fff;--grid:#e3e6ea;--card:#f6f7f9;
--good:#00684d;--bad:#a33c00}
@media (prefers-color-scheme:dark){:root{--text:#e6e8eb;--muted:#a9b0b9;--page:#14171a;--grid:#2c3137;
--card:#1c2024;--good:#57d3ac;--bad:#ff9b57}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--text);background:var(--page);margin:0 auto;
max-width:72rem;padding:1.5rem}
h1{font-size:1.6rem;margin:0 0 .25rem}h2{font-size:1.25rem;margin:2.5rem 0 .5rem;padding-top:.75rem;
border-top:1px solid var(--grid)}h3{font-size:1rem;margin:.75rem 0 .1rem}
p{max-width:46rem}p.muted,small{color:var(--muted)}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:1.25rem}
.wide{max-width:46rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;margin:.5rem 0}
caption{text-align:left;color:var(--muted);padding-bottom:.25rem}caption span{display:block;width:max-content;max-width:min(46rem,calc(100vw - 3.5rem))}
th,td{padding:.25rem .7rem;border-bottom:1px solid var(--grid);text-align:right;vertical-align:top;
font-variant-numeric:tabular-nums}th:first-child,td:first-child,td.text,th.text{text-align:left}
.badge{border:1px solid var(--bad);color:var(--bad);border-radius:.3rem;padding:0 .35rem;font-size:.8rem}
.right{color:var(--good)}.wrong{color:var(--bad)}
details{margin:.5rem 0}summary{cursor:pointer}
.sample{background:var(--card);padding:.6rem .8rem;border-radius:.4rem;overflow-wrap:anywhere}
.side{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,15rem),1fr));gap:.75rem}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.25rem 0;font-size:.85rem}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1rem;padding:0;list-style:none}a{color:inherit}
)";

}  // namespace

std::string EscapeHtml(absl::string_view text) {
  std::string out;
  for (char c : ValidUtf8(text)) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f) continue;
    out += c;
  }
  return absl::StrReplaceAll(
      out, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

std::string ShortNumber(double value) {
  if (!std::isfinite(value)) return "-";
  return absl::StrFormat("%.4g", value);
}

std::string DurationText(absl::Duration duration) {
  const int64_t seconds =
      std::max<int64_t>(0, absl::ToInt64Seconds(duration + absl::Milliseconds(500)));
  if (seconds < 3600) return absl::StrFormat("%d:%02d", seconds / 60, seconds % 60);
  return absl::StrFormat("%d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

std::string Percent(double share) { return absl::StrFormat("%.1f %%", 100 * share); }

std::string Table(const std::string& caption, const Cells& head, const std::vector<Cells>& rows) {
  std::string out = "<div class=\"scroll\"><table>";
  if (!caption.empty()) {
    absl::StrAppend(&out, "<caption><span>", EscapeHtml(caption), "</span></caption>");
  }
  out += "<thead><tr>";
  for (const std::string& cell : head) {
    absl::StrAppend(&out, "<th scope=\"col\">", EscapeHtml(cell), "</th>");
  }
  out += "</tr></thead><tbody>";
  for (const Cells& row : rows) {
    out += "<tr>";
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppend(&out, i == 0 ? "<th scope=\"row\">" : "<td>", row[i],
                      i == 0 ? "</th>" : "</td>");
    }
    out += "</tr>";
  }
  return out + "</tbody></table></div>\n";
}

std::string Document(const HtmlPage& page) {
  return absl::StrCat(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>",
      EscapeHtml(page.title), "</title>", page.head, "<style>", page.style, "</style></head><body>",
      page.body, "</body></html>\n");
}

std::string PageStyle() { return kStyle; }

}  // namespace cohort
