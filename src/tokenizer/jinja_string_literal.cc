#include "tokenizer/jinja_string_literal.h"

#include <array>
#include <charconv>

#include "base/strings.h"
#include "base/utf8.h"

namespace lserve::jinja {

namespace {

struct Escape {
  char letter, meaning;
};
constexpr std::array<Escape, 10> kEscapes = {{{'n', '\n'},
                                              {'t', '\t'},
                                              {'r', '\r'},
                                              {'\\', '\\'},
                                              {'\'', '\''},
                                              {'"', '"'},
                                              {'a', '\a'},
                                              {'b', '\b'},
                                              {'f', '\f'},
                                              {'v', '\v'}}};

// Hexadecimal digits that follow \x, \u, \U; 0 for other letters.
size_t hex_digits(char letter) {
  switch (letter) {
    case 'x':
      return 2;
    case 'u':
      return 4;
    case 'U':
      return 8;
    default:
      return 0;
  }
}

Status append_hex(std::string_view digits, std::string& out) {
  uint32_t value = 0;
  const auto [end, failure] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (failure != std::errc() || end != digits.data() + digits.size()) {
    return model_error(cat("the escape digits ", quoted(digits), " are not hexadecimal"));
  }
  if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
    return model_error(cat("the escape digits ", quoted(digits), " are no character"));
  }
  append_utf8(value, out);
  return {};
}

// Up to three digits from literal[i], of which the last is left at i.
void append_octal(std::string_view literal, size_t& i, std::string& out) {
  uint32_t value = 0;
  const size_t begin = i;
  while (i < literal.size() && i < begin + 3 && literal[i] >= '0' && literal[i] <= '7') {
    value = value * 8 + static_cast<uint32_t>(literal[i++] - '0');
  }
  --i;
  append_utf8(value, out);
}

// What follows a backslash that escapes nothing; returns where it ends. jinja2 writes characters
// beyond ASCII as escapes before it reads escapes, so behind a backslash their escape stays.
size_t append_unknown(std::string_view literal, size_t i, std::string& out) {
  const CodePoint c = decode_utf8(literal, i);
  if (c.value < 0x80) {
    out += literal[i];
  } else {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const int digits = c.value <= 0xFF ? 2 : c.value <= 0xFFFF ? 4 : 8;
    out += digits == 2 ? 'x' : digits == 4 ? 'u' : 'U';
    for (int d = digits - 1; d >= 0; --d) out += kDigits[(c.value >> (4 * d)) & 0xF];
  }
  return i + static_cast<size_t>(c.length);
}

}  // namespace

Result<std::string> unescape(std::string_view literal) {
  std::string out;
  for (size_t i = 0; i < literal.size(); ++i) {
    if (literal[i] != '\\' || i + 1 == literal.size()) {
      out += literal[i];
      continue;
    }
    const char letter = literal[++i];
    if (letter == 'N') return model_error("the escape \\N is not supported");
    if (letter >= '0' && letter <= '7') {
      append_octal(literal, i, out);
      continue;
    }
    if (letter == '\n') continue;  // a continued line
    if (const size_t digits = hex_digits(letter); digits > 0) {
      if (literal.size() - i - 1 < digits) return model_error("an escape lacks digits");
      RETURN_IF_ERROR(append_hex(literal.substr(i + 1, digits), out));
      i += digits;
      continue;
    }
    bool known = false;
    for (const Escape& escape : kEscapes) {
      if (escape.letter != letter) continue;
      out += escape.meaning;
      known = true;
    }
    if (known) continue;
    out += '\\';  // Python keeps an unknown escape as it is
    i = append_unknown(literal, i, out) - 1;
  }
  return out;
}

}  // namespace lserve::jinja
