// What `lserve bench kernel` can measure: the operations, and what a case of each is made of.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "attention/attention_config.h"
#include "evaluation/kernel_bench/block_lists.h"
#include "quant/kv_format.h"
#include "quant/weight_format.h"

namespace lserve {

// What a case depends on besides the model's shape.
enum class KernelDim : uint32_t {
  kTokens = 1,     // rows of activations
  kContext = 2,    // tokens of each sequence
  kBatch = 4,      // sequences that decode together
  kAttention = 8,  // which heads stream, whether pages are selected
  kKvFormat = 16,  // how keys and values are stored
  kBlocks = 32,    // which key blocks are left out, and which prompts come in the same call
  kWeights = 64,   // how matrices are stored
};

struct KernelOp {
  std::string_view name;  // as backend.h has it
  uint32_t dims;
  constexpr bool has(KernelDim dim) const { return (dims & static_cast<uint32_t>(dim)) != 0; }
};

constexpr uint32_t operator|(KernelDim a, KernelDim b) {
  return static_cast<uint32_t>(a) | static_cast<uint32_t>(b);
}
constexpr uint32_t operator|(uint32_t a, KernelDim b) { return a | static_cast<uint32_t>(b); }

inline constexpr std::array kKernelOps = {
    KernelOp{"embed", 0U | KernelDim::kTokens},
    KernelOp{"rms_norm", 0U | KernelDim::kTokens},
    KernelOp{"linear", KernelDim::kTokens | KernelDim::kWeights},
    KernelOp{"silu_mul", 0U | KernelDim::kTokens},
    KernelOp{"rope", 0U | KernelDim::kTokens},
    KernelOp{"write_kv", KernelDim::kTokens | KernelDim::kKvFormat},
    KernelOp{"rope_write_kv", KernelDim::kTokens | KernelDim::kKvFormat},
    KernelOp{"prefill_attention", KernelDim::kTokens | KernelDim::kContext | KernelDim::kAttention |
                                      KernelDim::kKvFormat | KernelDim::kBlocks},
    KernelOp{"decode_attention", KernelDim::kContext | KernelDim::kBatch | KernelDim::kAttention |
                                     KernelDim::kKvFormat},
    KernelOp{"page_scores", KernelDim::kContext | KernelDim::kBatch | KernelDim::kAttention |
                                KernelDim::kKvFormat},
    KernelOp{"select_pages", KernelDim::kContext | KernelDim::kBatch | KernelDim::kAttention},
    KernelOp{"select_spans", KernelDim::kContext | KernelDim::kBatch | KernelDim::kAttention},
    KernelOp{"sample", 0U | KernelDim::kBatch},
};

// The row of that name. REQUIRES: there is one.
constexpr const KernelOp& kernel_op(std::string_view name) {
  return *std::find_if(kKernelOps.begin(), kKernelOps.end(),
                       [name](const KernelOp& op) { return op.name == name; });
}

// One case. What its op does not depend on is left as it is here.
struct KernelCase {
  std::string op;                    // of kKernelOps
  std::string shape = "llama-3-8b";  // of checkpoint/random_checkpoint.h
  // 0: one row; for prefill_attention the whole context, of which these are the last tokens.
  int64_t tokens = 0;
  int64_t context = 8192;
  int64_t batch = 1;
  AttentionConfig attention;
  double streaming_fraction = 0.5;  // of the KV heads, where the mode has any that stream
  KvFormat kv_format = KvFormat::kBF16;
  WeightFormat weights = WeightFormat::kBF16;  // or a row format
  int32_t skip_percent = 0;  // of the key blocks of heads that do not stream (block_lists.h)
  BlockLists block_lists = BlockLists::kRandom;
  std::vector<int64_t> beside;  // tokens of whole prompts that are read in the same call
  uint64_t seed = 0;
  // What the copies of a call's data have together, so that none of a call is in a cache from the
  // call before: more than three times the 50 MB of an H100. 1: one copy, for tests.
  int64_t rotated_bytes = int64_t{160} << 20;
};

// Whether blocks are listed explicitly: a list may leave out none.
inline bool has_block_lists(const KernelCase& c) {
  return c.skip_percent > 0 || c.block_lists == BlockLists::kSingle;
}

}  // namespace lserve
