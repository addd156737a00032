#include "base/utf8.h"

namespace lserve {

int utf8_sequence_length(unsigned char lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 1;
}

CodePoint decode_utf8(std::string_view text, size_t offset) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[offset + i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const int length = utf8_sequence_length(lead);
  if (length == 1 || offset + static_cast<size_t>(length) > text.size()) {
    return {kInvalidCodePoint, 1};
  }
  char32_t value = lead & (0x7F >> length);
  for (int i = 1; i < length; ++i) {
    const unsigned char next = byte(static_cast<size_t>(i));
    if ((next & 0xC0) != 0x80) return {kInvalidCodePoint, 1};
    value = (value << 6) | (next & 0x3F);
  }
  const bool overlong = (length == 3 && value < 0x800) || (length == 4 && value < 0x10000);
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (overlong || surrogate || value > 0x10FFFF) return {kInvalidCodePoint, 1};
  return {value, length};
}

void append_utf8(char32_t c, std::string& out) {
  const auto push = [&](char32_t bits) { out += static_cast<char>(bits); };
  if (c < 0x80) {
    push(c);
  } else if (c < 0x800) {
    push(0xC0 | (c >> 6));
    push(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    push(0xE0 | (c >> 12));
    push(0x80 | ((c >> 6) & 0x3F));
    push(0x80 | (c & 0x3F));
  } else {
    push(0xF0 | (c >> 18));
    push(0x80 | ((c >> 12) & 0x3F));
    push(0x80 | ((c >> 6) & 0x3F));
    push(0x80 | (c & 0x3F));
  }
}

std::optional<size_t> first_invalid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode_utf8(text, i);
    if (c.value == kInvalidCodePoint) return i;
    i += static_cast<size_t>(c.length);
  }
  return std::nullopt;
}

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode_utf8(text, i);
    if (c.value == kInvalidCodePoint) {
      out += "\xEF\xBF\xBD";
    } else {
      out.append(text.substr(i, static_cast<size_t>(c.length)));
    }
    i += static_cast<size_t>(c.length);
  }
  return out;
}

size_t complete_utf8_prefix(std::string_view text) {
  // Look back for a lead byte among the last three: the only ones that can miss continuations.
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const auto c = static_cast<unsigned char>(text[text.size() - back]);
    if ((c & 0xC0) == 0x80) continue;
    const bool incomplete = static_cast<size_t>(utf8_sequence_length(c)) > back;
    return incomplete ? text.size() - back : text.size();
  }
  return text.size();
}

}  // namespace lserve
