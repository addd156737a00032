#include "kernels/cuda/common/weight_loader.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cuda/common/cuda_check.h"
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

Status WeightLoader::load(const RawWeight& raw, bf16* device) {
  RETURN_IF_ERROR(open());
  const auto columns = static_cast<size_t>(raw.columns);
  const auto row_size = row_bytes(raw.format, columns);
  CHECK(row_size.has_value());
  CHECK_EQ(raw.data.size(), static_cast<size_t>(raw.rows) * *row_size);
  const size_t stored_row = columns * sizeof(bf16);
  CHECK(0 < stored_row && stored_row <= kChunkBytes);
  const auto rows_per_chunk = static_cast<int64_t>(kChunkBytes / stored_row);
  for (int64_t first = 0; first < raw.rows; first += rows_per_chunk) {
    const int64_t count = std::min(rows_per_chunk, raw.rows - first);
    Chunk& chunk = chunks_[next_];
    next_ = 1 - next_;
    CUDA_CHECK(cudaEventSynchronize(chunk.taken));
    bf16* staged = chunk.memory.as<bf16>();
    threads_.parallel_for(count, 16, [&](int64_t begin, int64_t end, int) {
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        const size_t row = static_cast<size_t>(first) + i;
        convert_row(raw.format, raw.data.subspan(row * *row_size, *row_size),
                    {staged + i * columns, columns});
      }
    });
    CUDA_CHECK(cudaMemcpyAsync(device + first * raw.columns, staged,
                               static_cast<size_t>(count) * stored_row, cudaMemcpyHostToDevice,
                               stream_));
    CUDA_CHECK(cudaEventRecord(chunk.taken, stream_));
  }
  return {};
}

}  // namespace lserve::cuda
