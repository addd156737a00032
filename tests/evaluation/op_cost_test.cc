#include "evaluation/op_cost.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "evaluation/step_cost.h"
#include "support/tiny_engine.h"

namespace lserve::test {
namespace {

const CountedOp& find(const std::vector<CountedOp>& ops, const std::string& name) {
  const auto found =
      std::find_if(ops.begin(), ops.end(), [&](const CountedOp& op) { return op.op == name; });
  CHECK(found != ops.end());
  return *found;
}

TEST(OpCost, CountsByHand) {
  OpTimes times;
  const auto engine = load_tiny(AttentionMode::kDense, &times);
  const MeasuredSteps steps{.counts = {.prefill_read = 3, .decode_read = 5, .refreshes = 2},
                            .num_steps = 2,
                            .num_tokens = 100,
                            .num_rows = 1,
                            .kv_len = 130};
  std::vector<OpTime> ops;
  for (const char* name :
       {"norm_linear 768 x 256", "linear 256 x 512", "embed", "decode_attention",
        "prefill_attention", "page_scores", "something else", "norm_linear 1024 x 256"}) {
    ops.push_back({name, 1, 1e-3});
  }
  const auto counted = count_ops(*engine, ops, steps);
  ASSERT_EQ(counted.size(), ops.size());
  // The reference keeps matrices in float32; twice for two steps, and 100 rows in and out.
  const OpCost qkv = counted[0].cost;
  EXPECT_EQ(qkv.bytes, 4 * (2 * 768 * 256 * 4 + 100 * (256 + 768) * 4.0));
  EXPECT_EQ(qkv.operations, 4 * 2.0 * 768 * 256 * 100);
  // o and down have one shape.
  EXPECT_EQ(counted[1].cost.bytes, 2 * 4 * (2 * 256 * 512 * 4 + 100 * (256 + 512) * 4.0));
  EXPECT_EQ(counted[2].cost.bytes, 100 * 2 * 256 * 4);
  const double activations = 2.0 * 4 * 100 * 512 * 4;
  EXPECT_EQ(counted[3].cost.bytes, 5 * 2 * 64 * 64 * 2 + activations);
  EXPECT_EQ(counted[3].cost.operations, 5.0 * 4 * 64 * 64 * 4);
  EXPECT_EQ(counted[4].cost.operations, 3.0 * 4 * 64 * 64 * 64 * 4);
  // 2 lists of 3 pages, of 4 logical pages each.
  EXPECT_EQ(counted[5].cost.bytes, 2 * 3 * (4 * 2 * 64 * 2 + 4));
  EXPECT_EQ(counted[6].cost.bytes, 0);
  EXPECT_EQ(counted[6].cost.operations, 0);
  EXPECT_EQ(counted[6].seconds, 1e-3);
  // Gate and up of both steps, whose result is half as wide, and the head, of the same shape, of
  // the one that has logits.
  EXPECT_EQ(counted[7].cost.bytes,
            4 * (2 * 1024 * 256 * 4 + 100 * (256 + 512) * 4.0) + 1024 * 256 * 4 + (256 + 1024) * 4);
}

// What a step is said to cost is said of its operations too, and no operation of a step that takes
// time is forgotten.
TEST(OpCost, OperationsOfRealStepsAddUp) {
  OpTimes times;
  const auto engine = load_tiny(AttentionMode::kPages, &times);
  Sequence sequence = engine->new_sequence();
  const std::vector<int32_t> prompt(1024, 1);
  ASSERT_TRUE(
      engine->prefill_chunks(sequence, prompt, [](int64_t, int64_t) { return Status(); }).ok());
  ASSERT_TRUE(engine->draw({}, 1024).ok());
  engine->backend().synchronize();
  const auto prefill =
      count_ops(*engine, times.all(),
                {.counts = engine->counts(), .num_steps = 1024 / 64, .num_tokens = 1024});
  double products = 0;
  for (const CountedOp& op : prefill) {
    EXPECT_GT(op.cost.bytes, 0) << op.op;
    if (op.op.find("linear") != std::string::npos || op.op == "prefill_attention") {
      products += op.cost.operations;
    }
  }
  EXPECT_NEAR(products, prefill_operations(*engine, engine->counts(), 1024), 1);

  times.clear();
  engine->reset_counts();
  ASSERT_TRUE(engine->decode(sequence, 1).ok());
  ASSERT_TRUE(engine->draw({}, 1025).ok());
  engine->backend().synchronize();
  const AttentionCounts counts = engine->counts();
  ASSERT_GT(counts.refreshes, 0);
  const auto decode = count_ops(*engine, times.all(), {.counts = counts, .kv_len = 1025});
  double read = 0;
  for (const CountedOp& op : decode) {
    if (op.op.find("linear") != std::string::npos || op.op == "decode_attention" ||
        op.op == "page_scores") {
      read += op.cost.bytes;
      EXPECT_GT(op.cost.bytes, 0) << op.op;
    }
  }
  // Besides: the activations of a row, and scores.
  const double least = decode_bytes_per_step(*engine, counts, 1, 1025);
  EXPECT_GE(read, least);
  EXPECT_LE(read, least * 1.02);
  EXPECT_GT(find(decode, "select_spans").cost.bytes, 0);
}

}  // namespace
}  // namespace lserve::test
