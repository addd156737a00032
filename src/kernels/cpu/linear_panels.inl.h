// Block-quantised weights in registers: kLanes weight rows of one block, and their product with a
// block of a row of x. Layouts: linear_pack.h, and QuantisedBlock and PreciseBlock.
//
// With w = d_w * u + m_w and x = d * (q + o) in each part of a block (kActBlock columns), a block
// is
//   y += d_w * sum over its parts of d * (dot(u, q) + o * sum(u)),   y += m_w * sum(x).
// Where the codes are centred (u = code - kOffset, no m_w), kOffset * sum(q) and the kOffset in
// each term of sum(u) are subtracted in integers, and there is no second sum. The inner sums are
// exact.
//
// A panel type has the scales that a group of kBlocks blocks shares in its Head, and those of one
// block in itself. What a head's scale times a block's integer is, is rounded as dequantise_row
// rounds it.
#pragma once

#include "kernels/cpu/vector_math.inl.h"

namespace lserve::cpu {
namespace {

constexpr int kWords = kBlock / 4;  // 4-byte words of codes a row in a block
constexpr int kPartWords = kActBlock / 4;
constexpr int kNibbleBytes = kPanel * kBlock / 2;  // of a block's 4-bit codes

// The codes of a block of kLanes weight rows, from each of which kOffset is to be taken.
template <class Codes, int kOffset>
struct BlockCodes {
  explicit BlockCodes(const uint8_t* packed) : codes(packed) { add_up<0>(); }

  template <int kPart>
  void add_up() {
    const I32 start = set1_i32(-kOffset * kActBlock);
    sums[kPart] = pairs(codes.template sum<kPart * kPartWords, kPartWords>(start), -kOffset);
    if constexpr (kPart + 1 < kBlockParts) add_up<kPart + 1>();
  }

  // The product with one part of x.
  template <int kPart>
  F32 part_dot(const QuantisedBlock& x) const {
    return mul(whole_part_dot<kPart>(x), set1(x.parts[kPart].d));
  }
  template <int kPart>
  F32 part_dot(const PreciseBlock& x) const {
    constexpr int kFirst = kPart * kPartWords;
    return mul(to_f32(precise_dot<kFirst, kPartWords>(x, x.minus_sums[kPart])), set1(x.d));
  }

  // The product with all of x.
  F32 dot(const QuantisedBlock& x) const { return add_parts<1>(x, part_dot<0>(x)); }
  F32 dot(const PreciseBlock& x) const {
    return mul(to_f32(precise_dot<0, kWords>(x, x.minus_sum)), set1(x.d));
  }

  // Without x's scale.
  template <int kPart>
  F32 whole_part_dot(const QuantisedBlock& x) const {
    const I32 start = dot_pairs(sums[kPart], &x.parts[kPart].offset);
    return to_f32(codes.template dot<kPart * kPartWords, kPartWords>(x.q, start));
  }
  template <int kPart>
  F32 add_parts(const QuantisedBlock& x, F32 y) const {
    if constexpr (kPart < kBlockParts) {
      return add_parts<kPart + 1>(x, fma(whole_part_dot<kPart>(x), set1(x.parts[kPart].d), y));
    }
    return y;
  }
  // minus_sum: of x over these words.
  template <int kFirst, int kCount>
  I32 precise_dot(const PreciseBlock& x, int32_t minus_sum) const {
    constexpr int kHigh = kOffset / 128;
    constexpr int kLow = kOffset % 128;
    const I32 high_start = kHigh == 0 ? I32{} : set1_i32(kHigh * minus_sum);
    I32 high = times_128(codes.template dot<kFirst, kCount>(x.high, high_start));
    if constexpr (kLow != 0) high = add(high, set1_i32(kLow * minus_sum));
    return codes.template dot<kFirst, kCount>(x.low, high);
  }

  Codes codes;
  I32 sums[kBlockParts];  // 16-bit pairs: the sum of a part's codes, -kOffset
};

// f16 at `p`, in the panel's order.
inline F32 load_scales(const uint8_t* p, int lane) {
  return load_f16(reinterpret_cast<const uint16_t*>(p) + lane);
}

// Of formats whose blocks share nothing.
struct NoHead {
  static constexpr int kBytes = 0;
  NoHead(const uint8_t* /*head*/, int /*lane*/) {}
};

// Centred codes under one scale.
template <class Codes, int kOffset, int kCodeBytes>
struct ScaledPanel {
  using Head = NoHead;
  static constexpr int kBlocks = 1;
  static constexpr int kBlockBytes = kCodeBytes + kPanel * 2;  // codes, f16 d[16]
  // Of the outputs from `lane` on.
  ScaledPanel(const Head& /*head*/, const uint8_t* block, int lane)
      : codes(block + lane * 4), scale(load_scales(block + kCodeBytes, lane)) {}
  template <class Block>
  F32 add_to(F32 sum, const Block& x) const {
    return fma(codes.dot(x), scale, sum);
  }
  BlockCodes<Codes, kOffset> codes;
  F32 scale;
};
using Q8_0Panel = ScaledPanel<Codes8, 128, kPanel * kBlock>;
using Q4_0Panel = ScaledPanel<Codes4, 8, kNibbleBytes>;

struct Q4_1Panel {
  using Head = NoHead;
  static constexpr int kBlocks = 1;
  static constexpr int kBlockBytes = kNibbleBytes + kPanel * 4;  // codes, f16 d[16], f16 m[16]
  Q4_1Panel(const Head& /*head*/, const uint8_t* block, int lane)
      : codes(block + lane * 4),
        scale(load_scales(block + kNibbleBytes, lane)),
        low(load_scales(block + kNibbleBytes + kPanel * 2, lane)) {}
  template <class Block>
  F32 add_to(F32 sum, const Block& x) const {
    return fma(low, set1(x.sum), fma(codes.dot(x), scale, sum));
  }
  BlockCodes<Codes4, 0> codes;
  F32 scale;
  F32 low;
};

struct Q4KPanel {
  struct Head {
    static constexpr int kBytes = kPanel * 4;  // f16 d[16], f16 dmin[16]
    Head(const uint8_t* head, int lane)
        : d(load_scales(head, lane)),
          minus_dmin(sub(zero(), load_scales(head + kPanel * 2, lane))) {}
    F32 d;
    F32 minus_dmin;
  };
  static constexpr int kBlocks = 8;
  static constexpr int kBlockBytes = kNibbleBytes + kPanel * 2;  // codes, u8 scale[16], u8 min[16]
  Q4KPanel(const Head& head, const uint8_t* block, int lane)
      : codes(block + lane * 4),
        scale(mul(head.d, load_u8(block + kNibbleBytes + lane))),
        low(mul(head.minus_dmin, load_u8(block + kNibbleBytes + kPanel + lane))) {}
  template <class Block>
  F32 add_to(F32 sum, const Block& x) const {
    return fma(low, set1(x.sum), fma(codes.dot(x), scale, sum));
  }
  BlockCodes<Codes4, 0> codes;
  F32 scale;
  F32 low;
};

struct Q6KPanel {
  static_assert(kActBlock == 16, "a part of x meets one scale");
  struct Head {
    static constexpr int kBytes = kPanel * 2;  // f16 d[16]
    Head(const uint8_t* head, int lane) : d(load_scales(head, lane)) {}
    F32 d;
  };
  static constexpr int kBlocks = 8;
  static constexpr int kCodeBytes = kNibbleBytes + kPanel * kBlock / 4;
  static constexpr int kBlockBytes = kCodeBytes + kPanel * 2;  // codes, i8 scale[2][16]
  Q6KPanel(const Head& head, const uint8_t* block, int lane)
      : codes(block + lane * 4),
        first(mul(head.d, load_i8(block + kCodeBytes + lane))),
        second(mul(head.d, load_i8(block + kCodeBytes + kPanel + lane))) {}
  template <class Block>
  F32 add_to(F32 sum, const Block& x) const {
    const F32 half = fma(codes.template part_dot<0>(x), first, sum);
    return fma(codes.template part_dot<1>(x), second, half);
  }
  BlockCodes<Codes6, 32> codes;
  F32 first;
  F32 second;
};

}  // namespace
}  // namespace lserve::cpu
