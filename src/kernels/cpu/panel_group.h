// One weight row's share of a panel: the columns that have a head of scales in common (32, or the
// 256 of a super-block), on its way from the file's block to its lane of the panel and back.
//
// Private to linear_pack.cc, whose header shows the layouts. Everything is a template over the
// format, because loading a model is little else than this.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/check.h"
#include "kernels/cpu/cpu_kernels.h"
#include "quant/super_block.h"
#include "quant/weight_format.h"

namespace lserve::cpu {

static_assert(kBlock == kQuantBlock, "the kernels are written for the blocks of the formats");
static_assert(kBlock == Q4KBlock::kPart, "a block of Q4_K is a part with one scale");
static_assert(kBlock == 2 * Q6KBlock::kPart, "a block of Q6_K has two scales");

// Bytes of one row in a panel of block-quantised weights.
struct GroupLayout {
  int num_blocks;   // of kBlock columns
  int head_bytes;   // f16 scales that the blocks share, before them
  int code_bytes;   // of a block
  int scale_bytes;  // of a block, behind its codes
  int scale_size;   // of one of these scales

  constexpr int64_t columns() const { return num_blocks * kBlock; }
  constexpr int64_t bytes() const {
    return head_bytes + num_blocks * int64_t{code_bytes + scale_bytes};
  }
};

// REQUIRES: is_block_quantised(format).
constexpr GroupLayout group_layout(WeightFormat format) {
  switch (format) {
    case WeightFormat::kQ8_0:
      return {1, 0, kBlock, 2, 2};
    case WeightFormat::kQ4_0:
      return {1, 0, kBlock / 2, 2, 2};
    case WeightFormat::kQ4_1:
      return {1, 0, kBlock / 2, 4, 2};
    case WeightFormat::kQ4_K:
      return {kSuperBlock / kBlock, 4, kBlock / 2, 2, 1};
    case WeightFormat::kQ6_K:
      return {kSuperBlock / kBlock, 2, kBlock / 2 + kBlock / 4, 2, 1};
    default:
      return {};
  }
}

// Calls body.operator()<format>(). REQUIRES: is_block_quantised(format).
template <class Body>
void with_block_format(WeightFormat format, const Body& body) {
  switch (format) {
    case WeightFormat::kQ8_0:
      return body.template operator()<WeightFormat::kQ8_0>();
    case WeightFormat::kQ4_0:
      return body.template operator()<WeightFormat::kQ4_0>();
    case WeightFormat::kQ4_1:
      return body.template operator()<WeightFormat::kQ4_1>();
    case WeightFormat::kQ4_K:
      return body.template operator()<WeightFormat::kQ4_K>();
    case WeightFormat::kQ6_K:
      return body.template operator()<WeightFormat::kQ6_K>();
    default:
      CHECK(false);
  }
}

struct PanelGroup {
  struct Block {
    uint8_t codes[kBlock];
    uint8_t scales[4];
  };
  uint8_t head[4];
  Block blocks[kSuperBlock / kBlock];
};

// 4-bit codes: column c beside c + 16.
inline void pack_halves(const uint8_t* codes, uint8_t* out) {
  for (int i = 0; i < kBlock / 2; ++i) {
    out[i] = static_cast<uint8_t>((codes[i] & 0xF) | (codes[i + kBlock / 2] & 0xF) << 4);
  }
}

// The high 2 bits of 6-bit codes: of four columns that are 4 apart.
inline void pack_high_bits(const uint8_t* codes, uint8_t* out) {
  for (int half = 0; half < 2; ++half) {
    uint32_t packed = 0;
    for (int i = 0; i < 4; ++i) {
      uint32_t four;
      std::memcpy(&four, codes + half * 16 + i * 4, sizeof(four));
      packed |= (four >> 4 & 0x03030303) << (2 * i);
    }
    std::memcpy(out + half * 4, &packed, sizeof(packed));
  }
}

// The codes of a block again.
inline void unpack_halves(const uint8_t* packed, uint8_t* codes) {
  for (int i = 0; i < kBlock / 2; ++i) {
    codes[i] = packed[i] & 0xF;
    codes[i + kBlock / 2] = packed[i] >> 4;
  }
}
inline void unpack_high_bits(const uint8_t* packed, uint8_t* codes) {
  for (int i = 0; i < kBlock; ++i) {
    const int bits = packed[i / 16 * 4 + i % 4] >> (i % 16 / 4 * 2) & 3;
    codes[i] = static_cast<uint8_t>(codes[i] | bits << 4);
  }
}

inline float half_at(const uint8_t* p) {
  f16 value;
  std::memcpy(&value, p, sizeof(value));
  return to_float(value);
}

// Rearranges a block of the file.
template <WeightFormat kFormat>
void read_group(const std::byte* from, PanelGroup* group) {
  constexpr GroupLayout kLayout = group_layout(kFormat);
  PanelGroup::Block* blocks = group->blocks;
  if constexpr (kFormat == WeightFormat::kQ4_K) {
    const Q4KBlock whole = read_q4_k(from);
    std::memcpy(group->head, &whole.d, 2);
    std::memcpy(group->head + 2, &whole.dmin, 2);
    for (size_t b = 0; b < kLayout.num_blocks; ++b) {
      pack_halves(whole.codes.data() + b * kBlock, blocks[b].codes);
      blocks[b].scales[0] = whole.scale[b];
      blocks[b].scales[1] = whole.min[b];
    }
  } else if constexpr (kFormat == WeightFormat::kQ6_K) {
    const Q6KBlock whole = read_q6_k(from);
    std::memcpy(group->head, &whole.d, 2);
    for (size_t b = 0; b < kLayout.num_blocks; ++b) {
      pack_halves(whole.codes.data() + b * kBlock, blocks[b].codes);
      pack_high_bits(whole.codes.data() + b * kBlock, blocks[b].codes + kBlock / 2);
      std::memcpy(blocks[b].scales, whole.scale.data() + 2 * b, 2);
    }
  } else {
    std::memcpy(blocks->scales, from, kLayout.scale_bytes);
    std::memcpy(blocks->codes, from + kLayout.scale_bytes, kLayout.code_bytes);
    if constexpr (kFormat == WeightFormat::kQ8_0) {
      for (uint8_t& code : blocks->codes) code ^= 0x80;  // q becomes q + 128
    }
  }
}

// Calls copy(place in the panel, place in the group, bytes) for each field of the lane.
template <WeightFormat kFormat, class Panel, class Group, class Copy>
void for_fields(Panel* panel, int64_t lane, Group* group, const Copy& copy) {
  constexpr GroupLayout kLayout = group_layout(kFormat);
  for (int i = 0; i < kLayout.head_bytes; i += 2) {
    copy(panel + i * kPanel + lane * 2, group->head + i, 2);
  }
  panel += kLayout.head_bytes * kPanel;
  for (int b = 0; b < kLayout.num_blocks; ++b) {
    auto& block = group->blocks[b];
    for (int i = 0; i < kLayout.code_bytes; i += 4) {
      copy(panel + i * kPanel + lane * 4, block.codes + i, 4);
    }
    panel += kLayout.code_bytes * kPanel;
    for (int i = 0; i < kLayout.scale_bytes; i += kLayout.scale_size) {
      copy(panel + i * kPanel + lane * kLayout.scale_size, block.scales + i, kLayout.scale_size);
    }
    panel += kLayout.scale_bytes * kPanel;
  }
}

template <WeightFormat kFormat>
void store_group(const PanelGroup& group, int64_t lane, uint8_t* panel) {
  for_fields<kFormat>(panel, lane, &group,
                      [](uint8_t* in_panel, const uint8_t* in_group, size_t bytes) {
                        std::memcpy(in_panel, in_group, bytes);
                      });
}

template <WeightFormat kFormat>
void load_group(const uint8_t* panel, int64_t lane, PanelGroup* group) {
  for_fields<kFormat>(panel, lane, group,
                      [](const uint8_t* in_panel, uint8_t* in_group, size_t bytes) {
                        std::memcpy(in_group, in_panel, bytes);
                      });
}

// `count` weights of one scale: scale * (code - offset).
inline void scale_codes(const uint8_t* codes, int count, float scale, int offset, float* out) {
  for (int i = 0; i < count; ++i) out[i] = scale * static_cast<float>(codes[i] - offset);
}

// The weights, as dequantise_row gives them: group_layout(kFormat).columns() floats.
template <WeightFormat kFormat>
void dequantise_group(const PanelGroup& group, float* out) {
  for (int b = 0; b < group_layout(kFormat).num_blocks; ++b, out += kBlock) {
    const PanelGroup::Block& block = group.blocks[b];
    if constexpr (kFormat == WeightFormat::kQ8_0) {
      scale_codes(block.codes, kBlock, half_at(block.scales), 128, out);
      continue;
    }
    uint8_t codes[kBlock];
    unpack_halves(block.codes, codes);
    if constexpr (kFormat == WeightFormat::kQ4_0) {
      scale_codes(codes, kBlock, half_at(block.scales), 8, out);
    } else if constexpr (kFormat == WeightFormat::kQ4_1) {
      scale_codes(codes, kBlock, half_at(block.scales), 0, out);
      for (int i = 0; i < kBlock; ++i) out[i] += half_at(block.scales + 2);
    } else if constexpr (kFormat == WeightFormat::kQ4_K) {
      const float min = half_at(group.head + 2) * static_cast<float>(block.scales[1]);
      const float scale = half_at(group.head) * static_cast<float>(block.scales[0]);
      scale_codes(codes, kBlock, scale, 0, out);
      for (int i = 0; i < kBlock; ++i) out[i] -= min;
    } else {
      unpack_high_bits(block.codes + kBlock / 2, codes);
      for (int part = 0; part < 2; ++part) {
        const auto step = static_cast<float>(static_cast<int8_t>(block.scales[part]));
        const int first = part * Q6KBlock::kPart;
        scale_codes(codes + first, Q6KBlock::kPart, half_at(group.head) * step, Q6KBlock::kOffset,
                    out + first);
      }
    }
  }
}

}  // namespace lserve::cpu
