#include "quant/weight_format.h"

#include <cstring>

#include "base/check.h"
#include "base/checked_math.h"
#include "quant/super_block.h"
#include "tensor/dtype.h"

namespace lserve {

namespace {

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

}  // namespace

const char* weight_format_name(WeightFormat format) { return info(format).name; }
bool is_block_quantised(WeightFormat format) { return info(format).columns > 1; }
int64_t columns_per_block(WeightFormat format) { return info(format).columns; }
int64_t block_bytes(WeightFormat format) { return info(format).bytes; }

std::optional<uint64_t> row_bytes(WeightFormat format, uint64_t columns) {
  const FormatInfo f = info(format);
  if (columns % static_cast<uint64_t>(f.columns) != 0) return std::nullopt;
  return checked_mul(columns / static_cast<uint64_t>(f.columns), static_cast<uint64_t>(f.bytes));
}

void dequantise_row(WeightFormat format, std::span<const std::byte> row, std::span<float> out) {
  const FormatInfo f = info(format);
  CHECK_EQ(row.size() * static_cast<size_t>(f.columns), out.size() * static_cast<size_t>(f.bytes));
  const std::byte* from = row.data();
  float* to = out.data();
  for (; to != out.data() + out.size(); from += f.bytes, to += f.columns) {
    switch (format) {
      case WeightFormat::kF32:
        *to = load<float>(from);
        break;
      case WeightFormat::kF16:
        *to = to_float(load<f16>(from));
        break;
      case WeightFormat::kBF16:
        *to = to_float(load<bf16>(from));
        break;
      case WeightFormat::kQ8_0:
        dequantise_q8_0(from, to);
        break;
      case WeightFormat::kQ4_0:
        dequantise_q4_0(from, to);
        break;
      case WeightFormat::kQ4_1:
        dequantise_q4_1(from, to);
        break;
      case WeightFormat::kQ4_K:
        dequantise_q4_k(from, to);
        break;
      case WeightFormat::kQ6_K:
        dequantise_q6_k(from, to);
        break;
    }
  }
}

}  // namespace lserve
