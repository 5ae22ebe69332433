// What Cohort's pages are made of: escaped text, numbers, tables, the whole document and its style.
// The pages stand alone: no fonts, no links, nothing from another host.
//
// Pure functions.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace cohort {

// For text and for quoted attributes. Control characters, which HTML does not allow, are left out,
// and bytes that are not UTF-8 become U+FFFD: whatever a model said.
std::string EscapeHtml(absl::string_view text);

// "0.125", "12", "1.2e-05": short, without trailing zeros; "-": not finite.
std::string ShortNumber(double value);
std::string Percent(double share);                  // "12.3 %"
std::string DurationText(absl::Duration duration);  // "2:03", "1:02:03"

// `caption` and `head` are plain text, cells are HTML; the first cell of a row names it. A wide
// table scrolls by itself. Empty caption: none.
using Cells = std::vector<std::string>;
std::string Table(const std::string& caption, const Cells& head, const std::vector<Cells>& rows);

struct HtmlPage {
  std::string title;      // plain text
  std::string style;      // CSS
  std::string head = {};  // HTML, besides title and style
  std::string body;       // HTML
};
std::string Document(const HtmlPage& page);

// The style of all pages: colours for light and dark, type, tables, cards.
std::string PageStyle();

}  // namespace cohort
