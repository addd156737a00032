// GGUF's super-blocks: 256 consecutive columns of a row, in parts that have small integer scales of
// their own, all times one or two f16.
//
//   Q4_K  144 bytes {f16 d; f16 dmin; uint8 scales[12]; uint8 q[128]}
//         part p of 32 columns:  x = (d * scale[p]) * code - dmin * min[p],    code 0..15
//         scale and min have 6 bits each. Byte i of q's k-th run of 32 holds column 64 k + i in its
//         low and column 64 k + 32 + i in its high half.
//   Q6_K  210 bytes {uint8 ql[128]; uint8 qh[64]; int8 scales[16]; f16 d}
//         part p of 16 columns:  x = (d * scale[p]) * (code - 32),             code 0..63
//         The low 4 bits are in ql, the high 2 in qh. Each half of the block (128 columns) has 64
//         bytes of ql, whose low halves are its columns 0..63 and high halves the other 64, and 32
//         bytes of qh, whose byte i has the high bits of the columns i, i + 32, i + 64, i + 96.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace lserve {

inline constexpr int kSuperBlock = 256;  // columns

// The parts of a block, taken apart: one code a byte, in column order.
struct Q4KBlock {
  static constexpr int kBytes = 144;  // in the file
  static constexpr int kPart = 32;    // columns
  f16 d;
  f16 dmin;
  std::array<uint8_t, kSuperBlock / kPart> scale;
  std::array<uint8_t, kSuperBlock / kPart> min;
  std::array<uint8_t, kSuperBlock> codes;
};

struct Q6KBlock {
  static constexpr int kBytes = 210;
  static constexpr int kPart = 16;
  static constexpr int kOffset = 32;  // of the codes
  f16 d;
  std::array<int8_t, kSuperBlock / kPart> scale;
  std::array<uint8_t, kSuperBlock> codes;
};

// REQUIRES: `block` has kBytes bytes.
Q4KBlock read_q4_k(const std::byte* block);
Q6KBlock read_q6_k(const std::byte* block);

}  // namespace lserve
