#include "tokenizer/unicode_normal.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/check.h"
#include "base/utf8.h"

namespace lserve {

namespace {

// Below it, nothing composes with what is before it, and nothing is reordered.
constexpr char32_t kFirstMark = 0x300;
constexpr auto kOptions = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);

struct Range {
  char32_t first, last;
};
// Marks with a combining class that Unicode 9 did not have, and U+11930, which did not compose.
// Ascending.
constexpr std::array<Range, 37> kUnknownMarks = {{
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
    {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},
    {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x10D24, 0x10D27},
    {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85},
    {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
    {0x11930, 0x11930}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0},
    {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42},
    {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1},
    {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
    {0x1E4EC, 0x1E4EF},
}};

bool is_unknown_mark(char32_t c) {
  const auto range =
      std::lower_bound(kUnknownMarks.begin(), kUnknownMarks.end(), c,
                       [](const Range& r, char32_t value) { return r.last < value; });
  return range != kUnknownMarks.end() && range->first <= c;
}

struct Character {
  utf8proc_int32_t value;
  int combining_class;
};

// Whether a character that begins with `lead` may be kFirstMark or above.
bool may_begin_mark(char lead) { return static_cast<unsigned char>(lead) >= 0xCC; }

// The characters of a stretch in canonical order and composed, appended to `out`.
void compose(std::vector<Character>& characters, std::vector<utf8proc_int32_t>& values,
             std::string& out) {
  // Runs of marks are ordered by a stable sort: by exchanges, a megabyte of them would take hours.
  for (size_t i = 0; i < characters.size();) {
    if (characters[i++].combining_class == 0) continue;
    const size_t begin = i - 1;
    while (i < characters.size() && characters[i].combining_class != 0) ++i;
    std::stable_sort(characters.begin() + static_cast<ptrdiff_t>(begin),
                     characters.begin() + static_cast<ptrdiff_t>(i),
                     [](const Character& a, const Character& b) {
                       return a.combining_class < b.combining_class;
                     });
  }
  values.clear();
  for (const Character& c : characters) values.push_back(c.value);
  const auto count = utf8proc_normalize_utf32(
      values.data(), static_cast<utf8proc_ssize_t>(values.size()), kOptions);
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    append_utf8(static_cast<char32_t>(values[static_cast<size_t>(i)]), out);
  }
  characters.clear();
}

// The canonical decomposition of `c`.
void decompose(char32_t c, std::vector<Character>& out) {
  constexpr auto kDecompose = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
  std::array<utf8proc_int32_t, 8> parts;  // no decomposition has more than four
  int boundary = 0;
  const auto count =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts.data(),
                              static_cast<utf8proc_ssize_t>(parts.size()), kDecompose, &boundary);
  CHECK(count > 0 && count <= static_cast<utf8proc_ssize_t>(parts.size()));
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    out.push_back({parts[i], utf8proc_get_property(parts[i])->combining_class});
  }
}

}  // namespace

bool is_quickly_nfc(std::string_view text) {
  return std::none_of(text.begin(), text.end(), may_begin_mark);
}

std::string to_nfc(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::vector<Character> stretch;  // what may still change by what follows
  std::vector<utf8proc_int32_t> values;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode_utf8(text, i);
    const bool is_boundary =
        c.value == kInvalidCodePoint || c.value < kFirstMark || is_unknown_mark(c.value);
    if (is_boundary) compose(stretch, values, out);
    const size_t next = i + static_cast<size_t>(c.length);
    const bool can_compose = c.value < kFirstMark
                                 ? next < text.size() && may_begin_mark(text[next])
                                 : c.value != kInvalidCodePoint && !is_unknown_mark(c.value);
    if (can_compose) {
      decompose(c.value, stretch);
    } else {
      out.append(text.substr(i, next - i));
    }
    i = next;
  }
  compose(stretch, values, out);
  return out;
}

}  // namespace lserve
