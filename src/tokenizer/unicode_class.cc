#include "tokenizer/unicode_class.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <span>
#include <vector>

namespace lserve {

namespace {

struct Range {
  char32_t first, last;
};

// Assigned by Unicode 15.1 and 16.0, so unknown to utf8proc 2.8. Ascending.
constexpr std::array<Range, 22> kNewLetters = {{
    {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3},
    {0x10D4A, 0x10D65}, {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x11380, 0x11389},
    {0x1138B, 0x1138B}, {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113B7},
    {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0}, {0x13460, 0x143FA},
    {0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED},
    {0x1E5F0, 0x1E5F0}, {0x2EBF0, 0x2EE5D},
}};
constexpr std::array<Range, 7> kNewNumbers = {{
    {0x10D40, 0x10D49},
    {0x116D0, 0x116E3},
    {0x11BF0, 0x11BF9},
    {0x16130, 0x16139},
    {0x16D70, 0x16D79},
    {0x1CCF0, 0x1CCF9},
    {0x1E5F1, 0x1E5FA},
}};
// Numbers that Unicode 17.0 adds.
constexpr std::array<Range, 2> kNewestNumbers = {{{0x11DE0, 0x11DE9}, {0x16FF4, 0x16FF6}}};
constexpr char32_t kEndOfUnicode = 0x110000;

bool contains(std::span<const Range> ranges, char32_t c) {
  const auto range =
      std::lower_bound(ranges.begin(), ranges.end(), c,
                       [](const Range& r, char32_t value) { return r.last < value; });
  return range != ranges.end() && range->first <= c;
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

CharClass look_up(char32_t c) {
  if (is_white_space(c)) return CharClass::kSpace;
  if (c >= kEndOfUnicode) return CharClass::kOther;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharClass::kLetter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharClass::kNumber;
    case UTF8PROC_CATEGORY_CN:
      if (contains(kNewLetters, c)) return CharClass::kLetter;
      return contains(kNewNumbers, c) ? CharClass::kNumber : CharClass::kOther;
    default:
      return CharClass::kOther;
  }
}

}  // namespace

CharClass char_class(char32_t code_point) {
  // One byte a character: the look-up is the innermost step of scanning text.
  static const std::vector<CharClass> kBasicPlane = [] {
    std::vector<CharClass> table(0x10000);
    for (size_t c = 0; c < table.size(); ++c) table[c] = look_up(static_cast<char32_t>(c));
    return table;
  }();
  return code_point < kBasicPlane.size() ? kBasicPlane[code_point] : look_up(code_point);
}

bool is_isolated_digit(char32_t code_point) {
  if (char_class(code_point) == CharClass::kNumber) return true;
  return code_point >= kNewestNumbers[0].first && contains(kNewestNumbers, code_point);
}

bool is_python_space(char32_t code_point) {
  return is_white_space(code_point) || (code_point >= 0x1C && code_point <= 0x1F);
}

}  // namespace lserve
