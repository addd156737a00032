#include "kernels/cuda/ceilings/ceilings.h"

#include <algorithm>
#include <array>

#include "base/strings.h"
#include "kernels/cuda/ceilings/fastest_product.h"
#include "kernels/cuda/common/cuda_check.h"
#include "kernels/cuda/common/stopwatch.h"
#include "kernels/cuda/random_weight/random_weight.h"
#include "tensor/cuda/device_memory.h"

namespace lserve::cuda {

namespace {

constexpr int64_t kCopyBytes = int64_t{2} << 30;
constexpr int64_t kLeastCopyBytes = int64_t{256} << 20;  // five times the L2 cache of an H100
constexpr int kRepeats = 21;

// A long warm-up: under such products a card slows down to its power limit within some tens of
// milliseconds, and what follows is what it can keep up.
constexpr int64_t kMatrixRows = 8192;
constexpr int kProductWarmUp = 40;

Result<double> copy_gb_s(Context* context) {
  const int64_t bytes = std::min(kCopyBytes, free_device_bytes() * 2 / 5);
  if (bytes < kLeastCopyBytes) {
    return memory_error(
        cat("the ceiling of copies needs two times ", human_bytes(kLeastCopyBytes),
            " of device memory; free are ",
            human_bytes(static_cast<uint64_t>(std::max<int64_t>(0, free_device_bytes())))));
  }
  const auto size = static_cast<size_t>(bytes);
  ASSIGN_OR_RETURN(const Buffer from, allocate_device(size, context->stream));
  ASSIGN_OR_RETURN(const Buffer to, allocate_device(size, context->stream));
  fill_random(from.as<bf16>(), bytes / int64_t{sizeof(bf16)}, 1, 1, context->stream);
  const double seconds = Stopwatch(context->stream).median_seconds(3, kRepeats, [&] {
    CUDA_CHECK(
        cudaMemcpyAsync(to.data(), from.data(), size, cudaMemcpyDeviceToDevice, context->stream));
  });
  return 2 * static_cast<double>(bytes) / seconds * 1e-9;
}

Result<double> bf16_tflop_s(Context* context) {
  constexpr auto kElements = kMatrixRows * kMatrixRows;
  std::array<Buffer, 3> matrices;
  for (Buffer& matrix : matrices) {
    ASSIGN_OR_RETURN(matrix, allocate_device(kElements * sizeof(bf16), context->stream));
  }
  ASSIGN_OR_RETURN(const Buffer workspace, allocate_device(kProductWorkspace, context->stream));
  for (size_t i = 0; i < 2; ++i) {
    fill_random(matrices[i].as<bf16>(), kElements, i, 1, context->stream);
  }
  const bf16* weight = matrices[1].as<bf16>();
  ASSIGN_OR_RETURN(const auto product,
                   FastestProduct::create({kMatrixRows, kMatrixRows, kMatrixRows},
                                          {.x = matrices[0].as<bf16>(),
                                           .weights = {&weight, 1},
                                           .out = matrices[2].as<bf16>(),
                                           .workspace = workspace.data()},
                                          context->stream));
  const double seconds =
      Stopwatch(context->stream).median_seconds(kProductWarmUp, kRepeats, [&] { product->run(0); });
  return 2.0 * static_cast<double>(kElements) * kMatrixRows / seconds * 1e-12;
}

}  // namespace

Result<Ceilings> measure_ceilings(CeilingParts parts, Context* context) {
  CHECK(!context->recording);
  Ceilings found;
  ASSIGN_OR_RETURN(found.copy_gb_s, copy_gb_s(context));
  if (parts == CeilingParts::kAll) {
    ASSIGN_OR_RETURN(found.bf16_tflop_s, bf16_tflop_s(context));
  }
  return found;
}

}  // namespace lserve::cuda
