// What the kernels that draw tokens are launched with.
//
// Probabilities are whole numbers here: exp((logit - max) / temperature) in units of
// 2^-weight_bits, the most probable token having 2^weight_bits. Sums of whole numbers are exact, so
// that neither the order of threads nor the number of CTAs can change a token.
#pragma once

#include <bit>
#include <cstdint>

namespace lserve::cuda {

inline constexpr int kDrawThreads = 512;
inline constexpr int kTokensPerThread = 4;
inline constexpr int kPartTokens = kDrawThreads * kTokensPerThread;  // of a row, for one CTA

// A key is found digit by digit, from the top: 11, 11 and 10 bits.
inline constexpr int kNumLevels = 3;
inline constexpr int kNumBins = 1 << 11;
inline constexpr int kBinsPerThread = kNumBins / kDrawThreads;
constexpr int level_shift(int level) { return level == 0 ? 21 : level == 1 ? 10 : 0; }
constexpr uint32_t level_mask(int level) { return level == kNumLevels - 1 ? 0x3FF : kNumBins - 1; }
static_assert(kNumBins % kDrawThreads == 0, "each thread has as many bins");

// Shared memory adds words of 32 bits at full speed: a part's weights are summed as limbs.
inline constexpr int kLimbBits = 20;
inline constexpr int kNumLimbs = 3;
inline constexpr int kMaxWeightBits = kNumLimbs * kLimbBits - 1;
static_assert((int64_t{kPartTokens} << kLimbBits) <= int64_t{1} << 32, "no limb overflows");

// The most with which so many equal logits sum to at most 2^63.
constexpr int weight_bits(int64_t num_tokens) {
  const int bits = 63 - static_cast<int>(std::bit_width(static_cast<uint64_t>(num_tokens) - 1));
  return bits < kMaxWeightBits ? bits : kMaxWeightBits;
}

// SamplingParams as the device wants them.
struct DrawRow {
  int32_t row = 0;    // of the logits
  int32_t top_k = 0;  // less than the vocabulary; 0: off
  double temperature = 1;
  double log_min_p = 0;    // -infinity: off
  double top_p = 1;        // 1: off
  double weight_unit = 0;  // 2^weight_bits of as many tokens as are added up
  uint64_t random = 0;     // the draw's number in [0, 1), times 2^64
};

// A head of the row in descending order, ties by id: the tokens whose key is above `key`, and the
// first `num_equal` of those that have it. Every filter keeps a head of what it is given.
struct Head {
  uint32_t key;
  int32_t num_equal;
};

// Of a row, between the kernels.
struct DrawState {
  DrawRow row;
  bool is_finite;
  double max;
  double inverse_temperature;
  Head head;  // that the filters so far keep
  // The search of the next filter: what is known of its key, and how many tokens, or how much of
  // the weight, it still takes below those that are known to be kept.
  bool is_searching;
  uint32_t prefix;
  uint64_t left;
  uint32_t num_finished;  // CTAs of the kernel that runs
};

struct DrawArgs {
  const float* logits;  // [rows, vocab_size]
  int32_t vocab_size;
  int32_t num_parts;     // of a row
  const DrawRow* rows;   // [num_drawn]  of the host, page-locked
  int32_t* tokens;       // [rows]  of the host, page-locked; holds the tokens of argmax_rows
  DrawState* states;     // [num_drawn]
  uint64_t* histograms;  // [num_drawn, kNumBins]
  uint64_t* part_above;  // [num_drawn, num_parts]  weight above the head's key
  int32_t* part_equal;   // [num_drawn, num_parts]  tokens that have it
};

}  // namespace lserve::cuda
