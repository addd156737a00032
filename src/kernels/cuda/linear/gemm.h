// Products of matrices with many rows, through cuBLASLt: bf16 into float32 or bf16, int8 into int32
// (exact), e4m3 into float32. One algorithm a shape.
//
// cuBLASLt would choose by the number of rows too, and a row's bits would then depend on how many
// come along. Here the choice is made once for (rows of W, columns), at a usual number of rows of
// x, among the algorithms that sum over the columns in one order: no split K, and a workspace that
// holds a scheduler's counters but is too small for unfinished sums. Fewer rows may have algorithms
// of their own, but only such as gave the same bits in a trial on random numbers.
#pragma once

#include <cublasLt.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <tuple>
#include <vector>

#include "tensor/dtype.h"

struct CUstream_st;

namespace lserve::cuda {

enum class GemmType {
  kBF16,         // into float32
  kBF16Rounded,  // the same, rounded to bf16
  kInt8,         // into int32; exact
  kFp8,          // e4m3 into float32
  kFp8Scaled,    // the same, times a scale of the row of W and one of the row of x
};

struct GemmArgs {
  GemmType type = GemmType::kBF16;
  const void* x;  // [num_tokens, columns]
  int64_t num_tokens;
  const void* weight;  // [rows, columns]
  int64_t rows;
  int64_t columns;
  void* out;               // [num_tokens] rows of out_stride, of the type's sums
  int64_t out_stride = 0;  // elements; 0: rows
  bool accumulate;
  const float* x_scales = nullptr;       // [num_tokens]  of kFp8Scaled
  const float* weight_scales = nullptr;  // [rows]
  void* workspace;                       // kGemmWorkspace bytes
};
inline constexpr size_t kGemmWorkspace = 4096;
inline constexpr int64_t kInt8Rows = 16;

// What a trial needs. Of the device's memory it takes kMostTrialBytes at most, and does without
// tiers where it gets none.
struct GemmTrial {
  void* weight = nullptr;  // [rows, columns]  memory that is overwritten; null: the trial's own
  CUstream_st* stream = nullptr;
};
inline constexpr int64_t kMostTrialBytes = int64_t{128} << 20;

class Gemm {
 public:
  Gemm();
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  // Finds the algorithm of a shape, the first time; false if there is none (matrices whose rows do
  // not begin at multiples of 16 bytes, and what cuBLASLt refuses).
  // With a trial it takes longer, and waits for the stream. int8 serves numbers of rows of x that
  // are multiples of kInt8Rows.
  bool prepare(GemmType type, int64_t rows, int64_t columns, const GemmTrial* trial = nullptr);
  // Whether prepare() found one.
  bool has(GemmType type, int64_t rows, int64_t columns) const;
  // out = x W^T, or out += x W^T. REQUIRES: prepare(type, rows, columns); x, weight and workspace
  // aligned to 16 bytes, and out where its rows are.
  void run(const GemmArgs& args, CUstream_st* stream);

 private:
  struct Plan;  // of one shape: gemm_plan.h
  class Bench;  // what a trial multiplies: gemm_trial.cc
  // Those that sum in one order and serve all these numbers of rows; the best for `usual` first.
  std::vector<cublasLtMatmulAlgo_t> candidates(Plan* plan, int64_t usual,
                                               std::span<const int64_t> others) const;
  // Keeps the first of the list that a trial accepts, and the tiers that agree with it. False if
  // cuBLASLt refuses all.
  bool try_out(Plan* plan, const std::vector<cublasLtMatmulAlgo_t>& list,
               const GemmTrial& trial) const;
  void find_tier(Plan* plan, size_t tier, Bench* bench) const;
  bool multiply(Plan& plan, const cublasLtMatmulAlgo_t& algorithm, const GemmArgs& args,
                CUstream_st* stream) const;

  void* handle_ = nullptr;
  std::map<std::tuple<GemmType, int64_t, int64_t>, std::unique_ptr<Plan>> plans_;  // null: none
};

}  // namespace lserve::cuda
