#include "evaluation/kernel_bench/bench_memory.h"

#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "quant/quantise_weight.h"
#include "quant/random_values.h"

namespace lserve {

namespace {

constexpr int64_t kBlockValues = int64_t{1} << 20;
const float kUnitScale = std::sqrt(3.0F);  // uniform in [-s, s): of variance s^2 / 3

// Beyond any memory, and safe to convert.
constexpr double kLargest = 9e18;

constexpr int64_t kDifferentRows = 64;

std::vector<std::byte> rows_in(WeightFormat format, int64_t rows, int64_t columns, uint64_t seed,
                               float scale) {
  const auto size = static_cast<size_t>(row_bytes(format, static_cast<uint64_t>(columns)).value());
  std::vector<std::byte> data(static_cast<size_t>(rows) * size);
  std::vector<float> row(static_cast<size_t>(columns));
  for (int64_t r = 0; r < rows; ++r) {
    std::byte* to = data.data() + static_cast<size_t>(r) * size;
    if (r >= kDifferentRows) {
      std::copy_n(to - static_cast<size_t>(kDifferentRows) * size, size, to);
      continue;
    }
    for (size_t c = 0; c < row.size(); ++c) {
      row[c] = random_value(seed, static_cast<uint64_t>(r) * row.size() + c, scale);
    }
    quantise_row(format, row, {to, size});
  }
  return data;
}

uint64_t whole_bytes(double bytes) { return static_cast<uint64_t>(std::min(bytes, kLargest)); }

}  // namespace

Status check_fits(const Backend& backend, double bytes) {
  const int64_t available = backend.available_bytes();
  if (bytes <= static_cast<double>(available)) return {};
  return memory_error(cat("does not fit: ", human_bytes(whole_bytes(bytes)), " of ",
                          human_bytes(static_cast<uint64_t>(available))));
}

Result<int64_t> plan_copies(const Backend& backend, const CopyBytes& copy, double fixed_bytes,
                            int64_t rotated_bytes) {
  RETURN_IF_ERROR(check_fits(backend, copy.held + fixed_bytes));
  const double room = static_cast<double>(backend.available_bytes()) - fixed_bytes;
  const double wanted = std::ceil(static_cast<double>(rotated_bytes) / copy.read);
  const double most = std::min(std::floor(room / copy.held), static_cast<double>(kMaxCopies));
  return static_cast<int64_t>(std::max(1.0, std::min(wanted, most)));
}

Result<void*> BenchMemory::allocate(size_t bytes) {
  ASSIGN_OR_RETURN(Buffer buffer, backend_.allocate(std::max<size_t>(bytes, 1)));
  buffers_.push_back(std::move(buffer));
  return buffers_.back().data();
}

Result<float*> BenchMemory::zeros(int64_t count) {
  ASSIGN_OR_RETURN(void* data, allocate(static_cast<size_t>(count) * sizeof(float)));
  return static_cast<float*>(data);
}

Result<float*> BenchMemory::random(int64_t count) {
  if (block_.empty()) {
    block_.resize(static_cast<size_t>(kBlockValues));
    for (size_t i = 0; i < block_.size(); ++i) block_[i] = random_value(seed_, i, kUnitScale);
  }
  ASSIGN_OR_RETURN(float* data, zeros(count));
  for (int64_t done = 0; done < count; done += kBlockValues) {
    const int64_t n = std::min(kBlockValues, count - done);
    backend_.upload(data + done, block_.data(), static_cast<size_t>(n) * sizeof(float));
  }
  return data;
}

Result<const Weight*> BenchMemory::random_weight(int64_t rows, int64_t columns,
                                                 WeightFormat format) {
  const float scale = kUnitScale / std::sqrt(static_cast<float>(columns));
  const uint64_t seed = seed_ + weights_.size() + 1;
  auto made = is_row_quantised(format)
                  ? backend_.load_weight(
                        {format, rows, columns, rows_in(format, rows, columns, seed, scale)})
                  : backend_.make_random_weight(rows, columns, seed, scale);
  ASSIGN_OR_RETURN(Weight weight, std::move(made));
  weights_.push_back(std::make_unique<Weight>(std::move(weight)));
  return weights_.back().get();
}

}  // namespace lserve
