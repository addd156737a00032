// What the workloads of attention and of the page selector share: random sequences placed for a
// call, and what can be said of a case by counting.
#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "attention/batch_view.h"
#include "attention/page_selection.h"
#include "evaluation/kernel_bench/kv_sequences.h"

namespace lserve {

struct AttentionData {
  BenchMemory memory;
  KvSequences kv;
  BatchView view;
  TensorView q, out;  // [rows, num_q_heads, head_dim]
  std::array<std::span<const int32_t>, kNumHeadClasses> page_tables;

  AttentionData(Backend& backend, const ShapedCase& c);
};

// Places q and out, and the page tables of the sequences: of sequence i are the last q_lens[i]
// tokens in the call. kMemory.
Status place(AttentionData* data, const ShapedCase& c, std::span<const int32_t> q_lens,
             std::span<PageSelection> selections);

inline std::vector<int32_t> one_token_each(const ShapedCase& c) {
  return std::vector<int32_t>(static_cast<size_t>(c.settings.batch), 1);
}

float softmax_scale(const ShapedCase& c);
// Of one key and one value of a head, as they are stored.
double token_bytes(const ShapedCase& c);
// q and out of all heads.
double activation_bytes(const ShapedCase& c, double rows);

// What the model's heads of a layer have to do.
struct HeadCount {
  double retrieval = 0;
  double streaming = 0;
};
HeadCount count_heads(const ShapedCase& c);

// Keys that the positions [first, last] see, each once, and (query, key) pairs.
struct Visible {
  double keys = 0;
  double pairs = 0;
};
Visible visible_from(int64_t first, int64_t last, const TokenWindow& window);

// "lserve, int8, context 8192"; with the window where it is not the default.
std::string describe_attention(const ShapedCase& c);
// The vendor's problem of a batch of the case's contexts.
AttentionProblem vendor_problem(const ShapedCase& c, int64_t batch, int64_t q_len);

}  // namespace lserve
