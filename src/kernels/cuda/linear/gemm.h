// Products of matrices with many rows, through cuBLASLt: bf16 into float32, int8 into int32
// (exact). One algorithm a shape.
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

enum class GemmType { kBF16, kInt8 };

struct GemmArgs {
  GemmType type = GemmType::kBF16;
  const void* x;  // [num_tokens, columns]
  int64_t num_tokens;
  const void* weight;  // [rows, columns]
  int64_t rows;
  int64_t columns;
  void* out;  // [num_tokens, rows]  f32 or int32
  bool accumulate;
  void* workspace;  // kGemmWorkspace bytes
};
inline constexpr size_t kGemmWorkspace = 4096;
inline constexpr int64_t kInt8Rows = 16;

// What a trial needs.
struct GemmTrial {
  bf16* weight;  // [rows, columns]  memory that is overwritten
  CUstream_st* stream;
};

class Gemm {
 public:
  Gemm();
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  // Finds the algorithm of a shape, the first time; false if there is none (matrices whose rows do
  // not begin at multiples of 16 bytes, and what cuBLASLt refuses).
  // With a trial (of bf16) it takes longer, and waits for the stream. int8 serves numbers of
  // rows of x that are multiples of kInt8Rows.
  bool prepare(GemmType type, int64_t rows, int64_t columns, const GemmTrial* trial = nullptr);
  // out = x W^T, or out += x W^T. REQUIRES: prepare(type, rows, columns); x, weight and workspace
  // aligned to 16 bytes, and out where its rows are.
  void run(const GemmArgs& args, CUstream_st* stream);

 private:
  struct Plan;  // of one shape
  // Those that sum in one order and serve all these numbers of rows; the best for `usual` first.
  std::vector<cublasLtMatmulAlgo_t> candidates(Plan* plan, int64_t rows, uint64_t usual,
                                               std::span<const uint64_t> others) const;
  void find_tiers(Plan* plan, const GemmTrial& trial, int64_t rows, int64_t columns) const;
  bool multiply(Plan& plan, const cublasLtMatmulAlgo_t& algorithm, const GemmArgs& args,
                CUstream_st* stream) const;

  void* handle_ = nullptr;
  std::map<std::tuple<GemmType, int64_t, int64_t>, std::unique_ptr<Plan>> plans_;  // null: none
};

}  // namespace lserve::cuda
