#include "checkpoint/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "base/utf8.h"

namespace lserve {

namespace {

constexpr char32_t kFirstStandIn = 0x100;
constexpr int kNoByte = -1;
constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";  // U+2581

bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// Code point -> byte, for the code points below 0x100 + 68.
std::array<int16_t, 0x144> make_table() {
  std::array<int16_t, 0x144> table{};
  table.fill(kNoByte);
  size_t stand_in = kFirstStandIn;
  for (int byte = 0; byte < 256; ++byte) {
    const size_t symbol = stands_for_itself(byte) ? static_cast<size_t>(byte) : stand_in++;
    table[symbol] = static_cast<int16_t>(byte);
  }
  return table;
}

}  // namespace

std::optional<std::string> decode_byte_alphabet(std::string_view printable) {
  static const std::array<int16_t, 0x144> kTable = make_table();
  std::string bytes;
  for (size_t i = 0; i < printable.size();) {
    const CodePoint symbol = decode_utf8(printable, i);
    if (symbol.value >= kTable.size() || kTable[symbol.value] == kNoByte) return std::nullopt;
    bytes += static_cast<char>(kTable[symbol.value]);
    i += static_cast<size_t>(symbol.length);
  }
  return bytes;
}

std::optional<unsigned char> parse_byte_token(std::string_view name) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  if (name.size() != 6 || !name.starts_with("<0x") || name[5] != '>') return std::nullopt;
  const size_t high = kDigits.find(name[3]), low = kDigits.find(name[4]);
  if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
  return static_cast<unsigned char>(high * 16 + low);
}

std::string spaces_of_symbols(std::string_view piece) {
  std::string text;
  for (size_t i = 0; i < piece.size();) {
    const bool space = piece.substr(i).starts_with(kSpaceSymbol);
    text += space ? ' ' : piece[i];
    i += space ? kSpaceSymbol.size() : 1;
  }
  return text;
}

}  // namespace lserve
