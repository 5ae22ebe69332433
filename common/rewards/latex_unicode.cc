#include "common/rewards/latex_unicode.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"

namespace cohort {
namespace {

struct Meaning {
  char32_t character;
  const char* latex;
};

// By character.
constexpr Meaning kMeanings[] = {
    {0x00A0, " "},
    {0x00A3, "\\$"},
    {0x00A5, "\\$"},
    {0x00B0, "^\\circ "},
    {0x00B1, "\\pm "},
    {0x00B4, "'"},
    {0x00B7, "\\cdot "},
    {0x00BC, "\\frac{1}{4}"},
    {0x00BD, "\\frac{1}{2}"},
    {0x00BE, "\\frac{3}{4}"},
    {0x00D7, "\\times "},
    {0x00F7, "\\div "},
    {0x0394, "\\Delta "},
    {0x03A9, "\\Omega "},
    {0x03B1, "\\alpha "},
    {0x03B2, "\\beta "},
    {0x03B3, "\\gamma "},
    {0x03B4, "\\delta "},
    {0x03B5, "\\epsilon "},
    {0x03B8, "\\theta "},
    {0x03BB, "\\lambda "},
    {0x03BC, "\\mu "},
    {0x03C0, "\\pi "},
    {0x03C1, "\\rho "},
    {0x03C3, "\\sigma "},
    {0x03C4, "\\tau "},
    {0x03C6, "\\phi "},
    {0x03C9, "\\omega "},
    {0x03D5, "\\phi "},
    {0x2009, " "},
    {0x200A, " "},
    {0x200B, ""},
    {0x2010, "-"},
    {0x2011, "-"},
    {0x2012, "-"},
    {0x2013, "-"},
    {0x2014, "-"},
    {0x2016, "|"},
    {0x2018, "'"},
    {0x2019, "'"},
    {0x201C, "\""},
    {0x201D, "\""},
    {0x2022, "\\cdot "},
    {0x2026, "\\ldots "},
    {0x202F, " "},
    {0x2032, "'"},
    {0x2044, "/"},
    {0x20AC, "\\$"},
    {0x2102, "\\mathbb{C}"},
    {0x2103, "^\\circ C"},
    {0x2109, "^\\circ F"},
    {0x2115, "\\mathbb{N}"},
    {0x211A, "\\mathbb{Q}"},
    {0x211D, "\\mathbb{R}"},
    {0x2124, "\\mathbb{Z}"},
    {0x2153, "\\frac{1}{3}"},
    {0x2154, "\\frac{2}{3}"},
    {0x2155, "\\frac{1}{5}"},
    {0x2156, "\\frac{2}{5}"},
    {0x2157, "\\frac{3}{5}"},
    {0x2158, "\\frac{4}{5}"},
    {0x2159, "\\frac{1}{6}"},
    {0x215A, "\\frac{5}{6}"},
    {0x215B, "\\frac{1}{8}"},
    {0x215C, "\\frac{3}{8}"},
    {0x215D, "\\frac{5}{8}"},
    {0x215E, "\\frac{7}{8}"},
    {0x2192, "\\to "},
    {0x2205, "\\emptyset "},
    {0x2208, "\\in "},
    {0x2209, "\\notin "},
    {0x2212, "-"},
    {0x2213, "\\mp "},
    {0x2215, "/"},
    {0x2216, "\\setminus "},
    {0x2217, "*"},
    {0x2219, "\\cdot "},
    {0x221A, "\\surd "},
    {0x221B, "\\cuberoot "},
    {0x221E, "\\infty "},
    {0x2220, "\\angle "},
    {0x2223, "|"},
    {0x2227, "\\land "},
    {0x2228, "\\lor "},
    {0x2229, "\\cap "},
    {0x222A, "\\cup "},
    {0x2236, ":"},
    {0x2248, "\\approx "},
    {0x2260, "\\ne "},
    {0x2261, "\\equiv "},
    {0x2264, "\\le "},
    {0x2265, "\\ge "},
    {0x22C5, "\\cdot "},
    {0x2308, "\\lceil "},
    {0x2309, "\\rceil "},
    {0x230A, "\\lfloor "},
    {0x230B, "\\rfloor "},
    {0x25B3, "\\triangle "},
    {0x27E8, "\\langle "},
    {0x27E9, "\\rangle "},
    {0x2A7D, "\\le "},
    {0x2A7E, "\\ge "},
    {0x3000, " "},
    {0x3001, ","},
    {0x3002, "."},
    {0xFE63, "-"},
    {0xFEFF, ""},
};

struct Digit {
  char32_t character;
  char digit;
};

constexpr Digit kSuperscripts[] = {
    {0x00B2, '2'}, {0x00B3, '3'}, {0x00B9, '1'}, {0x2070, '0'}, {0x2074, '4'},
    {0x2075, '5'}, {0x2076, '6'}, {0x2077, '7'}, {0x2078, '8'}, {0x2079, '9'},
    {0x207A, '+'}, {0x207B, '-'}, {0x207F, 'n'}, {0x02E3, 'x'},
};

char Superscript(char32_t character) {
  for (const Digit& digit : kSuperscripts) {
    if (digit.character == character) return digit.digit;
  }
  return 0;
}

char Subscript(char32_t character) {
  return character >= 0x2080 && character <= 0x2089 ? static_cast<char>('0' + (character - 0x2080))
                                                    : '\0';
}

const char* MeaningOf(char32_t character) {
  const auto* const found =
      std::lower_bound(std::begin(kMeanings), std::end(kMeanings), character,
                       [](const Meaning& meaning, char32_t c) { return meaning.character < c; });
  return found != std::end(kMeanings) && found->character == character ? found->latex : nullptr;
}

}  // namespace

char32_t CharacterAt(absl::string_view text, size_t at, size_t* size) {
  const auto byte = [&](size_t i) {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0U;
  };
  const unsigned lead = byte(0);
  const size_t length = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF8 ? 4 : 1;
  *size = 1;
  if (length == 1) return lead;
  char32_t value = lead & (0x7FU >> length);
  for (size_t i = 1; i < length; ++i) {
    if (byte(i) >> 6 != 2) return lead;
    value = value << 6 | (byte(i) & 0x3F);
  }
  *size = length;
  return value;
}

std::string UnicodeToLatex(absl::string_view text) {
  std::string out;
  out.reserve(text.size() + 16);
  for (size_t at = 0; at < text.size();) {
    size_t size = 1;
    const char32_t character = CharacterAt(text, at, &size);
    if (size == 1) {
      out += text[at++];
      continue;
    }
    // "⁻¹²" is one exponent.
    char (*const digit)(char32_t) = Superscript(character) != 0 ? Superscript : Subscript;
    if (digit(character) != 0) {
      absl::StrAppend(&out, digit == Superscript ? "^{" : "_{");
      for (; at < text.size(); at += size) {
        const char next = digit(CharacterAt(text, at, &size));
        if (next == 0) break;
        out += next;
      }
      out += '}';
      continue;
    }
    if (character >= 0xFF01 && character <= 0xFF5E) {
      out += static_cast<char>(character - 0xFF01 + '!');
    } else if (const char* latex = MeaningOf(character)) {
      out += latex;
    } else {
      absl::StrAppend(&out, text.substr(at, size));
    }
    at += size;
  }
  return out;
}

}  // namespace cohort
