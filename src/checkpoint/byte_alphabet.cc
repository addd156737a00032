#include "checkpoint/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "base/utf8.h"

namespace lserve {

namespace {

constexpr char32_t kFirstStandIn = 0x100;
constexpr int kNoByte = -1;

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

}  // namespace lserve
