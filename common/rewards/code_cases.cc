#include "common/rewards/code_cases.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/rewards/code_blocks.h"
#include "common/text/json.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr char kForms[] =
    "expected code, a list of code, a list of {\"input\", \"output\"}, or {\"inputs\", "
    "\"outputs\"}";

bool IsBlank(absl::string_view text) { return absl::StripAsciiWhitespace(text).empty(); }

// A value of an input or output as a program reads or prints it; false: it has no such form.
bool ReadText(const json& value, std::string* text) {
  if (value.is_string()) {
    *text = value.get<std::string>();
  } else if (value.is_number()) {
    *text = value.dump();
  } else if (value.is_array()) {  // of lines
    for (const json& line : value) {
      std::string one;
      if (line.is_array() || !ReadText(line, &one)) return false;
      absl::StrAppend(text, one, "\n");
    }
  } else {
    return false;
  }
  return true;
}

// False: it is no case.
bool AddOutput(const json& input, const json& output, CodeTests* tests) {
  OutputCase one;
  if (!input.is_null() && !ReadText(input, &one.input)) return false;
  if (output.is_null() || !ReadText(output, &one.output)) return false;
  tests->outputs.push_back(std::move(one));
  return true;
}

// {"inputs": [...], "outputs": [...], "fn_name": "f"}, with one element of each per case.
bool ReadLists(const json& object, CodeTests* tests) {
  const json inputs = object.value("inputs", json());
  const json outputs = object.value("outputs", json());
  if (!inputs.is_array() || !outputs.is_array() || inputs.size() != outputs.size()) return false;
  const json name = object.value("fn_name", json());
  if (!name.is_string() || IsBlank(name.get_ref<const std::string&>())) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!AddOutput(inputs[i], outputs[i], tests)) return false;
    }
    return true;
  }
  tests->function = name.get<std::string>();
  tests->calls = json::array();
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].is_array()) return false;
    tests->calls.push_back({inputs[i], outputs[i]});
  }
  return true;
}

bool ReadArray(const json& list, CodeTests* tests) {
  for (const json& test : list) {
    if (test.is_string()) {
      absl::StrAppend(&tests->code, test.get_ref<const std::string&>(), "\n");
    } else if (!test.is_object() || !test.contains("output") ||
               !AddOutput(test.value("input", json()), test["output"], tests)) {
      return false;
    }
  }
  return true;
}

bool ReadForm(const json& column, CodeTests* tests) {
  if (column.is_array()) return ReadArray(column, tests);
  if (column.is_object() && column.contains("inputs")) return ReadLists(column, tests);
  if (column.is_object()) return ReadArray(json::array({column}), tests);
  if (!column.is_string()) return false;
  const std::string& text = column.get_ref<const std::string&>();
  const absl::string_view start = absl::StripLeadingAsciiWhitespace(text);
  if (absl::StartsWith(start, "[") || absl::StartsWith(start, "{")) {
    const auto parsed = ParseJson(text, "tests");
    if (parsed.ok()) return ReadForm(*parsed, tests);
  }
  tests->code = text;
  return true;
}

// Nothing that is compared, raised or called.
bool TestsNothing(const std::string& code) {
  const std::set<std::string> words = Identifiers(code);
  return !words.contains("assert") && !words.contains("raise") &&
         (words.empty() || !absl::StrContains(code, '('));
}

}  // namespace

CodeTests ReadCodeTests(const json& columns) {
  CodeTests tests;
  const auto column = columns.find("tests");
  if (column == columns.end() || column->is_null()) {
    tests.problem = "the prompt has no column `tests`";
    return tests;
  }
  if (!ReadForm(*column, &tests)) {
    tests.problem = absl::StrCat("the prompt's column `tests`: ", kForms, ", found another form");
    return tests;
  }
  if (TestsNothing(tests.code)) tests.code.clear();
  const auto tells = [](const OutputCase& test) { return !IsBlank(test.output); };
  if (std::none_of(tests.outputs.begin(), tests.outputs.end(), tells)) tests.outputs.clear();
  if (tests.code.empty() && tests.outputs.empty() && tests.calls.empty()) {
    tests.problem = "the prompt's column `tests` tests nothing";
  }
  const auto entry = columns.find("entry_point");
  if (entry != columns.end() && entry->is_string()) tests.entry_point = entry->get<std::string>();
  tests.names =
      Identifiers(absl::StrCat(tests.code, "\n", tests.entry_point, "\n", tests.function));
  if (!tests.function.empty()) tests.names.insert("Solution");
  return tests;
}

}  // namespace cohort
