// Reads tests/data/logits/*.bin: what transformers computed (layout: README.md there).
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/file.h"
#include "support/model_files.h"

namespace lserve::test {

struct LogitGolden {
  struct Position {
    std::vector<int32_t> top_ids;  // largest first
    std::vector<float> top_values;
    std::vector<float> fixed_values;
    float log_sum_exp, min, max;
    float range() const { return max - min; }
  };
  std::vector<int32_t> tokens;
  std::vector<int32_t> fixed_ids;
  std::vector<Position> positions;
};

inline LogitGolden read_golden(const std::string& name) {
  LogitGolden golden;
  const auto file = read_file(source_path("tests/data/logits/" + name + ".bin"), 1 << 24);
  EXPECT_TRUE(file.ok()) << file.status().message();
  if (!file.ok() || file->substr(0, 8) != "LSRVLGT1") return golden;
  const char* next = file->data() + 8;
  const auto take = [&next](auto& list, size_t count) {
    list.resize(count);
    const size_t bytes = count * sizeof(list[0]);
    std::memcpy(list.data(), next, bytes);
    next += bytes;
  };
  std::vector<uint32_t> counts;
  take(counts, 4);
  take(golden.tokens, counts[0]);
  take(golden.fixed_ids, counts[2]);
  golden.positions.resize(counts[0]);
  for (LogitGolden::Position& position : golden.positions) {
    std::vector<float> summary;
    take(position.top_ids, counts[1]);
    take(position.top_values, counts[1]);
    take(position.fixed_values, counts[2]);
    take(summary, 3);
    position.log_sum_exp = summary[0];
    position.min = summary[1];
    position.max = summary[2];
  }
  EXPECT_EQ(next, file->data() + file->size());
  return golden;
}

}  // namespace lserve::test
