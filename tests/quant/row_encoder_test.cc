// Rows whose scales are searched for: what is told is what is stored; never worse than plain
// rounding but for what w4a8's integers allow; valid whatever comes.
#include "quant/row_encoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "quant/quant_group.h"
#include "quant/quantise_weight.h"
#include "quant/w4a8.h"
#include "support/property.h"

namespace lserve::testing {
namespace {

struct Row {
  std::vector<float> x, importance;
};

// Now and then with zeros, large weights, and weights of one sign.
Row random_row(int64_t columns, Random* random) {
  Row row;
  const double spread = std::exp(random->uniform(-12, 6));
  const double offset = random->uniform() < 0.3 ? 3 * spread : 0;
  for (int64_t c = 0; c < columns; ++c) {
    double value = offset + spread * random->normal();
    if (random->uniform() < 0.01) value *= 8;
    if (random->uniform() < 0.02) value = 0;
    row.x.push_back(static_cast<float>(value));
    row.importance.push_back(static_cast<float>(std::exp(random->normal())));
  }
  return row;
}

std::vector<std::byte> room(WeightFormat format, size_t columns) {
  return std::vector<std::byte>(row_bytes(format, columns).value(), std::byte{0x5A});
}

double error_of(WeightFormat format, const Row& row, const std::vector<std::byte>& stored) {
  std::vector<float> read(row.x.size());
  dequantise_row(format, stored, read);
  double sum = 0;
  for (size_t c = 0; c < read.size(); ++c) {
    const double difference = double{read[c]} - double{row.x[c]};
    sum += double{row.importance[c]} * difference * difference;
  }
  return sum;
}

TEST(RowEncoder, TellsWhatIsStored) {
  for_each_case(test_cases(200), [](Random& random, int64_t i) {
    const WeightFormat format = kRowFormats[static_cast<size_t>(i) % kRowFormats.size()];
    const int64_t columns = random.integer(1, 400);
    const Row row = random_row(columns, &random);
    std::vector<std::byte> stored = room(format, row.x.size());
    RowEncoder encoder(format, row.x, row.importance, stored);
    std::vector<float> told;
    for (int64_t c = 0; c < columns; ++c) {
      if (c % kQuantGroupSize == 0) {
        const auto count = static_cast<size_t>(std::min(columns - c, kQuantGroupSize));
        encoder.begin_group(c / kQuantGroupSize,
                            std::span(row.x).subspan(static_cast<size_t>(c), count),
                            std::span(row.importance).subspan(static_cast<size_t>(c), count));
      }
      // What errors of other columns may have made of it.
      const double moved = double{row.x[static_cast<size_t>(c)]} * random.uniform(-3, 3);
      told.push_back(encoder.round(c, static_cast<float>(moved)));
    }
    std::vector<float> read(told.size());
    dequantise_row(format, stored, read);
    for (size_t c = 0; c < read.size(); ++c) {
      ASSERT_NEAR(told[c], read[c], 1e-5 * std::abs(double{read[c]}) + 1e-12)
          << weight_format_name(format) << ", column " << c;
    }
    if (format == WeightFormat::kW4A8) {
      ASSERT_TRUE(is_valid_w4a8(stored.data(), columns));
    }
  });
}

// The search knows plain rounding's scales (w8a8, fp8, w4a16: exactly, but for f16's last bit).
TEST(RowEncoder, LosesNoMoreThanPlainRounding) {
  double plain_sum = 0;
  double searched_sum = 0;
  for_each_case(test_cases(400), [&](Random& random, int64_t i) {
    const WeightFormat format = kRowFormats[static_cast<size_t>(i) % kRowFormats.size()];
    const Row row = random_row(random.integer(1, 400), &random);
    std::vector<std::byte> plain = room(format, row.x.size());
    quantise_row(format, row.x, plain);
    std::vector<std::byte> searched = room(format, row.x.size());
    encode_row(format, row.x, row.importance, searched);
    const double before = error_of(format, row, plain);
    const double after = error_of(format, row, searched);
    double squares = 0;
    for (size_t c = 0; c < row.x.size(); ++c) {
      squares += double{row.importance[c]} * double{row.x[c]} * double{row.x[c]};
    }
    ASSERT_LE(after, 1.05 * before + 1e-5 * squares) << weight_format_name(format);
    if (format == WeightFormat::kW4A8 && squares > 0) {
      plain_sum += before / squares;
      searched_sum += after / squares;
    }
  });
  EXPECT_LT(searched_sum, 0.9 * plain_sum);
}

TEST(RowEncoder, ZerosStayZeros) {
  for (const WeightFormat format : kRowFormats) {
    const Row row{std::vector<float>(130, 0.0F), std::vector<float>(130, 1.0F)};
    std::vector<std::byte> stored = room(format, row.x.size());
    encode_row(format, row.x, row.importance, stored);
    std::vector<float> read(row.x.size());
    dequantise_row(format, stored, read);
    for (const float value : read) ASSERT_EQ(value, 0) << weight_format_name(format);
    if (format != WeightFormat::kW4A8) continue;
    EXPECT_TRUE(is_valid_w4a8(stored.data(), 130));
  }
}

}  // namespace
}  // namespace lserve::testing
