#include "kernels/cuda/common/weight_loader.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/pack_rows.h"
#include "tensor/cuda/device_memory.h"
#include "tensor/dtype.h"

namespace lserve::cuda {

namespace {

void convert_row(WeightFormat format, std::span<const std::byte> row, std::span<bf16> out) {
  if (format == WeightFormat::kBF16) {
    std::memcpy(out.data(), row.data(), row.size());
    return;
  }
  static thread_local std::vector<float> values;
  values.resize(out.size());
  dequantise_row(format, row, values);
  std::transform(values.begin(), values.end(), out.begin(), to_bf16);
}

}  // namespace

WeightLoader::~WeightLoader() {
  for (const Chunk& chunk : chunks_) {
    if (chunk.taken != nullptr) static_cast<void>(cudaEventDestroy(chunk.taken));
  }
}

Status WeightLoader::open() {
  for (Chunk& chunk : chunks_) {
    if (chunk.memory.data() != nullptr) continue;
    ASSIGN_OR_RETURN(chunk.memory, allocate_pinned(kChunkBytes));
    if (chunk.taken != nullptr) continue;
    CUDA_CHECK(cudaEventCreateWithFlags(&chunk.taken, cudaEventDisableTiming));
  }
  return {};
}

void WeightLoader::release() {
  CUDA_CHECK(cudaStreamSynchronize(stream_));
  for (Chunk& chunk : chunks_) chunk.memory = {};
}

void WeightLoader::copy(int64_t count, size_t bytes, std::byte* device,
                        FunctionRef<void(int64_t, std::span<std::byte>)> fill) {
  CHECK(0 < bytes && bytes <= kChunkBytes);
  const auto per_chunk = static_cast<int64_t>(kChunkBytes / bytes);
  for (int64_t first = 0; first < count; first += per_chunk) {
    const int64_t part = std::min(per_chunk, count - first);
    Chunk& chunk = chunks_[next_];
    next_ = 1 - next_;
    CUDA_CHECK(cudaEventSynchronize(chunk.taken));
    auto* staged = chunk.memory.as<std::byte>();
    threads_.parallel_for(part, 16, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        fill(first + i, {staged + static_cast<size_t>(i) * bytes, bytes});
      }
    });
    CUDA_CHECK(cudaMemcpyAsync(device + static_cast<size_t>(first) * bytes, staged,
                               static_cast<size_t>(part) * bytes, cudaMemcpyHostToDevice, stream_));
    CUDA_CHECK(cudaEventRecord(chunk.taken, stream_));
  }
}

Status WeightLoader::load(const RawWeight& raw, bf16* device) {
  RETURN_IF_ERROR(open());
  const auto columns = static_cast<size_t>(raw.columns);
  const auto row_size = row_bytes(raw.format, columns);
  CHECK(row_size.has_value());
  CHECK_EQ(raw.data.size(), static_cast<size_t>(raw.rows) * *row_size);
  copy(raw.rows, columns * sizeof(bf16), reinterpret_cast<std::byte*>(device),
       [&](int64_t row, std::span<std::byte> to) {
         convert_row(raw.format, raw.data.subspan(static_cast<size_t>(row) * *row_size, *row_size),
                     {reinterpret_cast<bf16*>(to.data()), columns});
       });
  return {};
}

Status WeightLoader::load_rows(const RawWeight& raw, std::byte* device) {
  RETURN_IF_ERROR(open());
  const RowWeightLayout layout(raw.format, raw.rows, raw.columns);
  CHECK_EQ(raw.data.size(), static_cast<size_t>(raw.rows) *
                                *row_bytes(raw.format, static_cast<uint64_t>(raw.columns)));
  copy(raw.rows, static_cast<size_t>(layout.pitch()), device,
       [&](int64_t row, std::span<std::byte> to) { pack_codes(layout, raw, row, to); });
  if (raw.format != WeightFormat::kW4A16) {
    copy(raw.rows, sizeof(float), device + layout.row_scales_at(),
         [&](int64_t row, std::span<std::byte> to) {
           const float scale = row_scale(layout, raw, row);
           std::memcpy(to.data(), &scale, sizeof(scale));
         });
  }
  if (layout.is_4_bit()) {
    const int64_t blocks = round_up(raw.rows, kScaleRows) / kScaleRows;
    copy(blocks, static_cast<size_t>(layout.group_scales_bytes() / blocks),
         device + layout.group_scales_at(), [&](int64_t block, std::span<std::byte> to) {
           pack_group_scales(layout, raw, block, to);
         });
  }
  return {};
}

}  // namespace lserve::cuda
