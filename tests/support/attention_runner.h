// Runs the attention operations of a backend over a fixture, with work lists made by brute force.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "support/attention_oracle.h"
#include "support/paged_kv_fixture.h"

namespace lserve::testing {

// Query heads per KV head: those of the models that we run, and more than a tile of 8 holds.
int32_t random_gqa_group(Random* random);

// The KV head of the model that has this rank in the fixture's pool: the reverse, so that a kernel
// which confuses the two fails.
inline int32_t kv_head_of(const PagedKvFixture& kv, int32_t head) {
  return kv.shape().num_heads - 1 - head;
}

// The spans that hold `tokens` (ascending) of a sequence.
std::vector<PageSpan> spans_of(const PagedKvFixture& kv, int32_t seq,
                               const std::vector<int32_t>& tokens);
std::vector<int32_t> all_tokens(int32_t len);

// Which tokens each (sequence, head) attends: [seq * num_heads + head]. Or, where there are more,
// the query heads of a head have lists of their own: [(seq * num_heads + head) * lists + list],
// each for an equal part of them.
using TokenLists = std::vector<std::vector<int32_t>>;
TokenLists dense_lists(const PagedKvFixture& kv);

struct DecodeRun {
  std::vector<float> q;  // [num_seqs, num_heads * group, head_dim]
  int32_t group = 1;
  float softmax_scale = 0;
};
DecodeRun random_decode(const PagedKvFixture& kv, Random* random);
// Row of q and of the result for (sequence, rank of the KV head, query head of its group).
int64_t decode_row(const PagedKvFixture& kv, const DecodeRun& run, int32_t seq, int32_t head,
                   int32_t g);
// The result, NaN where the lists are empty (those items are left out of the work).
std::vector<float> decode(Backend* backend, PagedKvFixture* kv, const DecodeRun& run,
                          const TokenLists& lists);
// Compares a result with float64.
::testing::AssertionResult decode_is_right(const PagedKvFixture& kv, const DecodeRun& run,
                                           const TokenLists& lists, const std::vector<float>& out);

// Prefill of positions [first, len) of the fixture's sequence 0.
struct PrefillRun {
  std::vector<float> q;  // [len - first, num_heads * group, head_dim]
  int32_t group = 1;
  int32_t first = 0;
  float softmax_scale = 0;
  std::vector<TokenWindow> windows;  // [num_heads]
};
PrefillRun random_prefill(const PagedKvFixture& kv, Random* random);
// Query blocks begin at multiples of block_size (of positions), or at `first`.
std::vector<float> prefill(Backend* backend, PagedKvFixture* kv, const PrefillRun& run,
                           int32_t block_size);
// Compares a result with float64, at every so manieth position.
::testing::AssertionResult prefill_is_right(const PagedKvFixture& kv, const PrefillRun& run,
                                            const std::vector<float>& out, double operand_rounding,
                                            int32_t every = 1);

}  // namespace lserve::testing
