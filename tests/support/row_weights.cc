// See row_weights.h.
#include "support/row_weights.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "base/check.h"
#include "quant/quant_group.h"
#include "quant/w4a8.h"
#include "tensor/dtype.h"

namespace lserve::testing {

namespace {

template <typename T>
void put(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof(value));
}

std::byte random_byte(Random* random) { return static_cast<std::byte>(random->next() & 0xFF); }

void fill_codes(int64_t columns, std::byte* codes, Random* random) {
  std::generate_n(codes, int4_bytes(columns), [random] { return random_byte(random); });
  if (columns % 2 != 0) codes[columns / 2] &= std::byte{0xF};
}

void fill_w8a8(std::span<std::byte> row, Random* random) {
  put(row.data(), static_cast<float>(random->normal()) / 64);
  for (std::byte& code : row.subspan(4)) code = random_byte(random);  // -128 too: it must not break
}

void fill_fp8(std::span<std::byte> row, Random* random) {
  put(row.data(), static_cast<float>(random->normal()) / 64);
  for (std::byte& code : row.subspan(4)) {
    do code = random_byte(random);
    while ((code & std::byte{0x7F}) == std::byte{0x7F});
  }
}

void fill_w4a8(int64_t columns, std::byte* row, Random* random) {
  const int64_t groups = num_quant_groups(columns);
  put(row, to_f16(static_cast<float>(random->normal()) / 64));
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t s2 = random->integer(1, kLargestGroupScale);
    put(row + 2 + g, static_cast<uint8_t>(s2));
    put(row + 2 + groups + g, static_cast<int8_t>(random->integer(INT8_MIN, INT8_MAX - 15 * s2)));
  }
  fill_codes(columns, row + 2 + 2 * groups, random);
}

void fill_w4a16(int64_t columns, std::byte* row, Random* random) {
  const int64_t groups = num_quant_groups(columns);
  for (int64_t g = 0; g < groups; ++g) {
    put(row + 2 * g, to_f16(static_cast<float>(random->normal()) / 8));
    put(row + 2 * (groups + g), to_f16(static_cast<float>(random->normal())));
  }
  fill_codes(columns, row + 4 * groups, random);
}

}  // namespace

std::vector<std::byte> random_row_weights(WeightFormat format, int64_t rows, int64_t columns,
                                          Random* random) {
  const auto bytes = static_cast<size_t>(row_bytes(format, static_cast<uint64_t>(columns)).value());
  std::vector<std::byte> data(static_cast<size_t>(rows) * bytes);
  for (size_t at = 0; at < data.size(); at += bytes) {
    const auto row = std::span(data).subspan(at, bytes);
    switch (format) {
      case WeightFormat::kW8A8:
        fill_w8a8(row, random);
        break;
      case WeightFormat::kFp8:
        fill_fp8(row, random);
        break;
      case WeightFormat::kW4A8:
        fill_w4a8(columns, row.data(), random);
        break;
      case WeightFormat::kW4A16:
        fill_w4a16(columns, row.data(), random);
        break;
      default:
        CHECK(false && "not a row format");
    }
  }
  return data;
}

}  // namespace lserve::testing
