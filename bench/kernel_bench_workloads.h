// The operations of backend.h at the shapes of SmolLM2-135M (hidden 576, 9 query heads, 3 KV heads,
// head_dim 64, ffn 1536, vocabulary 49152 in Q8_0, the layers' matrices in Q4_1), as workloads that
// kernel_bench measures. What is read comes from as many layers as the model has, or from as many
// copies as no cache holds.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/random.h"
#include "kernels/backend.h"

namespace lserve::bench {

inline constexpr int64_t kHidden = 576;
inline constexpr int64_t kFfn = 1536;
inline constexpr int64_t kVocab = 49152;
inline constexpr int64_t kQHeads = 9;
inline constexpr int64_t kKvHeads = 3;
inline constexpr int32_t kGroup = 3;
inline constexpr int64_t kHeadDim = 64;
inline constexpr int64_t kLayers = 30;

enum class Bound { kMemory, kInt8, kBf16, kFp32, kNone };

struct Workload {
  std::string name;
  Bound bound;                     // which ceiling it is held against
  double work;                     // bytes, or operations, of one call of `run`
  double bar;                      // part of the ceiling that is owed; 0: none
  std::function<void()> run;       // what is measured
  std::function<void()> baseline;  // the same on the reference backend, on a part of the work
  double baseline_share;           // that part
};

// The backends under measurement, and random data.
struct Bench {
  Backend* backend;
  Backend* reference;
  Random* random;
};

using Floats = std::vector<float>;

Floats normals(Random* random, int64_t count);
// [x.size() / columns, columns]
TensorView view(Floats& x, int64_t columns);
// [tokens, num_heads, kHeadDim]
TensorView heads(Floats& x, int64_t num_heads);
// Random codes under small scales, as the file would hold them.
std::vector<std::byte> random_matrix(Random* random, WeightFormat format, int64_t rows,
                                     int64_t columns);

// Each appends its workloads; they own the memory that they read.
void add_linear(const Bench& bench, std::vector<Workload>* list);
void add_prefill_attention(const Bench& bench, std::vector<Workload>* list);
void add_decode_attention(const Bench& bench, std::vector<Workload>* list);
void add_page_scores(const Bench& bench, std::vector<Workload>* list);
void add_tokens(const Bench& bench, std::vector<Workload>* list);

}  // namespace lserve::bench
