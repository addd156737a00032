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

}  // namespace

Result<std::string> unescape(std::string_view literal) {
  std::string out;
  for (size_t i = 0; i < literal.size(); ++i) {
    if (literal[i] != '\\' || i + 1 == literal.size()) {
      out += literal[i];
      continue;
    }
    const char letter = literal[++i];
    if (letter == 'N' || (letter >= '0' && letter <= '7')) {
      return model_error(cat("the escape \\", letter, " is not supported"));
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
    if (!known) out.append({'\\', letter});  // Python keeps an unknown escape as it is
  }
  return out;
}

}  // namespace lserve::jinja
