#include "tokenizer/jinja_case.h"

#include <utf8proc.h>

#include <algorithm>
#include <string>

#include "base/utf8.h"
#include "tokenizer/jinja_case_table.h"

namespace lserve::jinja {

namespace {

enum class Case { kUpper, kLower, kTitle };

struct Range {
  char32_t first, last;
};

// Lower or upper case without being letters of that category (Other_Lowercase, Other_Uppercase).
constexpr Range kOtherLower[] = {
    {0xAA, 0xAA},       {0xBA, 0xBA},       {0x2B0, 0x2B8},     {0x2C0, 0x2C1},    {0x2E0, 0x2E4},
    {0x345, 0x345},     {0x37A, 0x37A},     {0x1D2C, 0x1D6A},   {0x1D78, 0x1D78},  {0x1D9B, 0x1DBF},
    {0x2071, 0x2071},   {0x207F, 0x207F},   {0x2090, 0x209C},   {0x2170, 0x217F},  {0x24D0, 0x24E9},
    {0x2C7C, 0x2C7D},   {0xA69C, 0xA69D},   {0xA770, 0xA770},   {0xA7F8, 0xA7F9},  {0xAB5C, 0xAB5F},
    {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107B0}, {0x107B2, 0x107BA}};
constexpr Range kOtherUpper[] = {
    {0x2160, 0x216F}, {0x24B6, 0x24CF}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};
// Case_Ignorable beyond the categories that is_ignorable() names.
constexpr char32_t kOtherIgnorable[] = {0x27,   0x2E,   0x3A,   0xB7,   0x387,  0x55F,
                                        0x5F4,  0x2018, 0x2019, 0x2024, 0x2027, 0xFE13,
                                        0xFE52, 0xFE55, 0xFF07, 0xFF0E, 0xFF1A};
constexpr char32_t kSigma = 0x3A3, kFinalSigma = 0x3C2, kDottedI = 0x130;

template <size_t N>
bool in_ranges(const Range (&ranges)[N], char32_t c) {
  return std::any_of(std::begin(ranges), std::end(ranges),
                     [&](const Range& range) { return range.first <= c && c <= range.last; });
}

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_lower_char(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LL || in_ranges(kOtherLower, c);
}
bool is_upper_char(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LU || in_ranges(kOtherUpper, c);
}
bool is_title_char(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LT; }
bool is_cased(char32_t c) { return is_lower_char(c) || is_upper_char(c) || is_title_char(c); }

bool is_ignorable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return std::find(std::begin(kOtherIgnorable), std::end(kOtherIgnorable), c) !=
             std::end(kOtherIgnorable);
  }
}

// Whether the sigma at code point `at` ends a word: a letter before it, none after, case-ignorable
// characters left out of account.
bool is_final(const std::u32string& text, size_t at) {
  size_t before = at;
  while (before > 0 && is_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  size_t after = at + 1;
  while (after < text.size() && is_ignorable(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

// A text with its code points; an invalid byte b is 0x110000 + b.
class Characters {
 public:
  explicit Characters(std::string_view bytes) {
    for (size_t i = 0; i < bytes.size();) {
      const CodePoint c = decode_utf8(bytes, i);
      const auto byte = static_cast<unsigned char>(bytes[i]);
      code_points_ += c.value == kInvalidCodePoint ? kFirstByte + byte : c.value;
      i += static_cast<size_t>(c.length);
    }
  }
  const std::u32string& code_points() const { return code_points_; }

  void convert(size_t at, Case to, std::string& out) const {
    const char32_t c = code_points_[at];
    if (c >= kFirstByte) {
      out += static_cast<char>(c - kFirstByte);
      return;
    }
    if (to == Case::kLower) {
      append_lower(at, out);
      return;
    }
    const auto* special = std::lower_bound(
        std::begin(kLongCases), std::end(kLongCases), c,
        [](const LongCase& row, char32_t wanted) { return row.code_point < wanted; });
    if (special != std::end(kLongCases) && special->code_point == c) {
      for (const char16_t part : to == Case::kUpper ? special->upper : special->title) {
        if (part != 0) append_utf8(part, out);
      }
      return;
    }
    const auto code = static_cast<utf8proc_int32_t>(c);
    append_utf8(
        static_cast<char32_t>(to == Case::kUpper ? utf8proc_toupper(code) : utf8proc_totitle(code)),
        out);
  }

 private:
  static constexpr char32_t kFirstByte = 0x110000;

  void append_lower(size_t at, std::string& out) const {
    const char32_t c = code_points_[at];
    if (c == kDottedI) {
      out += "i\xCC\x87";
    } else if (c == kSigma && is_final(code_points_, at)) {
      append_utf8(kFinalSigma, out);
    } else {
      append_utf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), out);
    }
  }

  std::u32string code_points_;
};

// `choose` gives the case of character number i.
template <typename Choose>
Text convert(const Text& text, Choose choose) {
  const Characters characters(text.bytes());
  Text result;
  size_t offset = 0;
  size_t run = 0;
  std::string part;
  for (size_t i = 0; i < characters.code_points().size(); ++i) {
    characters.convert(i, choose(characters.code_points(), i), part);
    offset += static_cast<size_t>(decode_utf8(text.bytes(), offset).length);
    if (offset < text.runs()[run].end) continue;
    result.append(part, text.runs()[run].from_message);
    part.clear();
    while (run < text.runs().size() && text.runs()[run].end <= offset) ++run;
  }
  return result;
}

}  // namespace

Text to_upper(const Text& text) {
  return convert(text, [](const std::u32string&, size_t) { return Case::kUpper; });
}

Text to_lower(const Text& text) {
  return convert(text, [](const std::u32string&, size_t) { return Case::kLower; });
}

Text capitalise(const Text& text) {
  return convert(
      text, [](const std::u32string&, size_t i) { return i == 0 ? Case::kTitle : Case::kLower; });
}

Text title_words(const Text& text) {
  return convert(text, [](const std::u32string& all, size_t i) {
    return i > 0 && is_cased(all[i - 1]) ? Case::kLower : Case::kTitle;
  });
}

Text swap_case(const Text& text) {
  return convert(text, [](const std::u32string& all, size_t i) {
    // What has no case stays as it is in either direction.
    return is_upper_char(all[i])   ? Case::kLower
           : is_lower_char(all[i]) ? Case::kUpper
                                   : Case::kTitle;
  });
}

bool is_lower(std::string_view text) {
  bool found = false;
  const Characters characters(text);
  for (const char32_t c : characters.code_points()) {
    if (is_upper_char(c) || is_title_char(c)) return false;
    found = found || is_lower_char(c);
  }
  return found;
}

bool is_upper(std::string_view text) {
  bool found = false;
  const Characters characters(text);
  for (const char32_t c : characters.code_points()) {
    if (is_lower_char(c) || is_title_char(c)) return false;
    found = found || is_upper_char(c);
  }
  return found;
}

bool is_printable(char32_t code_point) {
  if (code_point == ' ') return true;
  switch (category(code_point)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

}  // namespace lserve::jinja
