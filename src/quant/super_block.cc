#include "quant/super_block.h"

#include <cstring>

namespace lserve {

namespace {

uint8_t byte_at(const std::byte* from, int i) { return static_cast<uint8_t>(from[i]); }

f16 half_at(const std::byte* from) {
  f16 value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

// The 6-bit numbers: those of parts 0..3 fill the low 6 bits of bytes 0..3 (scale) and 4..7 (min).
// Those of parts 4..7 have their low 4 bits in the halves of bytes 8..11, their high 2 above the
// former.
void read_scales(const std::byte* from, Q4KBlock* out) {
  for (int i = 0; i < 4; ++i) {
    const uint8_t scale = byte_at(from, i);
    const uint8_t min = byte_at(from, 4 + i);
    const uint8_t low = byte_at(from, 8 + i);
    const auto at = static_cast<size_t>(i);
    out->scale[at] = scale & 0x3F;
    out->min[at] = min & 0x3F;
    out->scale[at + 4] = static_cast<uint8_t>((low & 0xF) | (scale >> 6) << 4);
    out->min[at + 4] = static_cast<uint8_t>(low >> 4 | (min >> 6) << 4);
  }
}

}  // namespace

Q4KBlock read_q4_k(const std::byte* block) {
  Q4KBlock out;
  out.d = half_at(block);
  out.dmin = half_at(block + 2);
  read_scales(block + 4, &out);
  for (int run = 0; run < 4; ++run) {
    uint8_t* codes = out.codes.data() + run * 64;
    for (int i = 0; i < 32; ++i) {
      const uint8_t both = byte_at(block, 16 + run * 32 + i);
      codes[i] = both & 0xF;
      codes[32 + i] = both >> 4;
    }
  }
  return out;
}

Q6KBlock read_q6_k(const std::byte* block) {
  Q6KBlock out;
  for (int half = 0; half < 2; ++half) {
    uint8_t* codes = out.codes.data() + half * 128;
    for (int i = 0; i < 32; ++i) {
      const uint8_t first = byte_at(block, half * 64 + i);
      const uint8_t second = byte_at(block, half * 64 + 32 + i);
      const uint8_t high = byte_at(block, 128 + half * 32 + i);
      codes[i] = static_cast<uint8_t>((first & 0xF) | (high & 0x03) << 4);
      codes[32 + i] = static_cast<uint8_t>((second & 0xF) | (high & 0x0C) << 2);
      codes[64 + i] = static_cast<uint8_t>(first >> 4 | (high & 0x30));
      codes[96 + i] = static_cast<uint8_t>(second >> 4 | (high & 0xC0) >> 2);
    }
  }
  std::memcpy(out.scale.data(), block + 192, out.scale.size());
  out.d = half_at(block + 208);
  return out;
}

}  // namespace lserve
