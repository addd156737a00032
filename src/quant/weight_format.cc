#include "quant/weight_format.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/checked_math.h"
#include "quant/fp8.h"
#include "quant/super_block.h"
#include "quant/w4a16.h"
#include "quant/w4a8.h"
#include "quant/w8a8.h"
#include "tensor/dtype.h"

namespace lserve {

namespace {

// Of a block. Row formats have none: 0.
struct FormatInfo {
  const char* name;
  int64_t columns;
  int64_t bytes;
};

FormatInfo info(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return {"F32", 1, 4};
    case WeightFormat::kF16:
      return {"F16", 1, 2};
    case WeightFormat::kBF16:
      return {"BF16", 1, 2};
    case WeightFormat::kQ8_0:
      return {"Q8_0", kQuantBlock, 2 + kQuantBlock};
    case WeightFormat::kQ4_0:
      return {"Q4_0", kQuantBlock, 2 + kQuantBlock / 2};
    case WeightFormat::kQ4_1:
      return {"Q4_1", kQuantBlock, 4 + kQuantBlock / 2};
    case WeightFormat::kQ4_K:
      return {"Q4_K", kSuperBlock, Q4KBlock::kBytes};
    case WeightFormat::kQ6_K:
      return {"Q6_K", kSuperBlock, Q6KBlock::kBytes};
    case WeightFormat::kW8A8:
      return {"w8a8", 0, 0};
    case WeightFormat::kFp8:
      return {"fp8", 0, 0};
    case WeightFormat::kW4A8:
      return {"w4a8", 0, 0};
    case WeightFormat::kW4A16:
      return {"w4a16", 0, 0};
  }
  return {"?", 1, 1};
}

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

void dequantise_q8_0(const std::byte* block, float* out) {
  const float d = to_float(load<f16>(block));
  for (int i = 0; i < kQuantBlock; ++i) {
    out[i] = d * static_cast<float>(static_cast<int8_t>(block[2 + i]));
  }
}

void dequantise_q4_0(const std::byte* block, float* out) {
  const float d = to_float(load<f16>(block));
  for (int i = 0; i < kQuantBlock / 2; ++i) {
    const auto codes = static_cast<uint8_t>(block[2 + i]);
    out[i] = d * static_cast<float>((codes & 0xF) - 8);
    out[i + kQuantBlock / 2] = d * static_cast<float>((codes >> 4) - 8);
  }
}

void dequantise_q4_1(const std::byte* block, float* out) {
  const float d = to_float(load<f16>(block));
  const float m = to_float(load<f16>(block + 2));
  for (int i = 0; i < kQuantBlock / 2; ++i) {
    const auto codes = static_cast<uint8_t>(block[4 + i]);
    out[i] = d * static_cast<float>(codes & 0xF) + m;
    out[i + kQuantBlock / 2] = d * static_cast<float>(codes >> 4) + m;
  }
}

void dequantise_q4_k(const std::byte* from, float* out) {
  const Q4KBlock block = read_q4_k(from);
  const float d = to_float(block.d);
  const float dmin = to_float(block.dmin);
  for (size_t i = 0; i < kSuperBlock; ++i) {
    const size_t part = i / Q4KBlock::kPart;
    const float scale = d * static_cast<float>(block.scale[part]);
    const float min = dmin * static_cast<float>(block.min[part]);
    out[i] = scale * static_cast<float>(block.codes[i]) - min;
  }
}

void dequantise_q6_k(const std::byte* from, float* out) {
  const Q6KBlock block = read_q6_k(from);
  const float d = to_float(block.d);
  for (size_t i = 0; i < kSuperBlock; ++i) {
    const float scale = d * static_cast<float>(block.scale[i / Q6KBlock::kPart]);
    out[i] = scale * static_cast<float>(block.codes[i] - Q6KBlock::kOffset);
  }
}

// REQUIRES: is_row_quantised(format) and columns < 2^62.
int64_t bytes_of_row(WeightFormat format, int64_t columns) {
  switch (format) {
    case WeightFormat::kW8A8:
      return W8A8Row::bytes(columns);
    case WeightFormat::kFp8:
      return Fp8Row::bytes(columns);
    case WeightFormat::kW4A8:
      return W4A8Row::bytes(columns);
    case WeightFormat::kW4A16:
      return W4A16Row::bytes(columns);
    default:
      CHECK(false);
  }
  return 0;
}

void dequantise_whole_row(WeightFormat format, const std::byte* row, std::span<float> out) {
  switch (format) {
    case WeightFormat::kW8A8:
      return dequantise_w8a8(row, out);
    case WeightFormat::kFp8:
      return dequantise_fp8(row, out);
    case WeightFormat::kW4A8:
      return dequantise_w4a8(row, out);
    case WeightFormat::kW4A16:
      return dequantise_w4a16(row, out);
    default:
      CHECK(false);
  }
}

void dequantise_block(WeightFormat format, const std::byte* block, float* out) {
  switch (format) {
    case WeightFormat::kF32:
      *out = load<float>(block);
      return;
    case WeightFormat::kF16:
      *out = to_float(load<f16>(block));
      return;
    case WeightFormat::kBF16:
      *out = to_float(load<bf16>(block));
      return;
    case WeightFormat::kQ8_0:
      return dequantise_q8_0(block, out);
    case WeightFormat::kQ4_0:
      return dequantise_q4_0(block, out);
    case WeightFormat::kQ4_1:
      return dequantise_q4_1(block, out);
    case WeightFormat::kQ4_K:
      return dequantise_q4_k(block, out);
    case WeightFormat::kQ6_K:
      return dequantise_q6_k(block, out);
    default:
      CHECK(false);
  }
}

bool same_letters(std::string_view a, std::string_view b) {
  const auto small = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::ranges::equal(a, b, {}, small, small);
}

}  // namespace

const char* weight_format_name(WeightFormat format) { return info(format).name; }
std::optional<WeightFormat> weight_format_by_name(std::string_view name) {
  for (const WeightFormat format : kAllWeightFormats) {
    if (same_letters(name, weight_format_name(format))) return format;
  }
  return std::nullopt;
}
bool is_block_quantised(WeightFormat format) { return info(format).columns > 1; }
bool is_row_quantised(WeightFormat format) { return info(format).columns == 0; }
int64_t columns_per_block(WeightFormat format) {
  CHECK(!is_row_quantised(format));
  return info(format).columns;
}
int64_t block_bytes(WeightFormat format) {
  CHECK(!is_row_quantised(format));
  return info(format).bytes;
}

std::optional<uint64_t> row_bytes(WeightFormat format, uint64_t columns) {
  const FormatInfo f = info(format);
  if (is_row_quantised(format)) {
    if (columns > uint64_t{1} << 60) return std::nullopt;
    return static_cast<uint64_t>(bytes_of_row(format, static_cast<int64_t>(columns)));
  }
  if (columns % static_cast<uint64_t>(f.columns) != 0) return std::nullopt;
  return checked_mul(columns / static_cast<uint64_t>(f.columns), static_cast<uint64_t>(f.bytes));
}

void dequantise_row(WeightFormat format, std::span<const std::byte> row, std::span<float> out) {
  if (is_row_quantised(format)) {
    CHECK(row.size() == row_bytes(format, out.size()));
    return dequantise_whole_row(format, row.data(), out);
  }
  const FormatInfo f = info(format);
  CHECK_EQ(row.size() * static_cast<size_t>(f.columns), out.size() * static_cast<size_t>(f.bytes));
  const std::byte* from = row.data();
  float* to = out.data();
  for (; to != out.data() + out.size(); from += f.bytes, to += f.columns) {
    dequantise_block(format, from, to);
  }
}

}  // namespace lserve
