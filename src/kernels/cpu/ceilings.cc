#include "kernels/cpu/ceilings.h"

// As in kernels/cpu/simd_avx512.h: GCC bug 105593.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <algorithm>
#include <chrono>

#include "tensor/buffer.h"

namespace lserve::cpu {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kChains = 12;  // independent sums: more than latency times issue width
constexpr int64_t kSteps = 4'000'000;
constexpr int kRepeats = 7;

volatile float g_sink;  // keeps results alive
// What the chains sum, read again every step: so that no compiler sums ahead.
volatile int g_bytes = 0x01010101;
volatile int g_bf16_pair = 0x3F003F00;  // of 0.5
volatile float g_half = 0.5F;

__attribute__((target("avx512f,avx512vnni"))) void dot_steps() {
  __m512i sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_set1_epi32(i);
  for (int64_t i = 0; i < kSteps; ++i) {
    const __m512i x = _mm512_set1_epi32(g_bytes);
#pragma GCC unroll 12
    for (auto& sum : sums) sum = _mm512_dpbusd_epi32(sum, x, x);
  }
  __m512i total = sums[0];
  for (int i = 1; i < kChains; ++i) total = _mm512_add_epi32(total, sums[i]);
  g_sink = static_cast<float>(_mm_cvtsi128_si32(_mm512_castsi512_si128(total)));
}

__attribute__((target("avx512f,avx512bf16"))) void bf16_steps() {
  __m512 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t i = 0; i < kSteps; ++i) {
    const __m512i x = _mm512_set1_epi32(g_bf16_pair);
#pragma GCC unroll 12
    for (auto& sum : sums) sum = _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)x);
  }
  __m512 total = sums[0];
  for (int i = 1; i < kChains; ++i) total = _mm512_add_ps(total, sums[i]);
  g_sink = _mm512_cvtss_f32(total);
}

__attribute__((target("avx512f"))) void fma_steps_512() {
  __m512 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t i = 0; i < kSteps; ++i) {
    const __m512 x = _mm512_set1_ps(g_half);
#pragma GCC unroll 12
    for (auto& sum : sums) sum = _mm512_fmadd_ps(x, x, sum);
  }
  __m512 total = sums[0];
  for (int i = 1; i < kChains; ++i) total = _mm512_add_ps(total, sums[i]);
  g_sink = _mm512_cvtss_f32(total);
}

__attribute__((target("avx2,fma"))) void fma_steps_256() {
  __m256 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm256_set1_ps(static_cast<float>(i));
  for (int64_t i = 0; i < kSteps; ++i) {
    const __m256 x = _mm256_set1_ps(g_half);
#pragma GCC unroll 12
    for (auto& sum : sums) sum = _mm256_fmadd_ps(x, x, sum);
  }
  __m256 total = sums[0];
  for (int i = 1; i < kChains; ++i) total = _mm256_add_ps(total, sums[i]);
  g_sink = _mm256_cvtss_f32(total);
}

__attribute__((target("avx2"))) int64_t read_all(const int64_t* data, int64_t count) {
  __m256i sums[4];
  for (auto& sum : sums) sum = _mm256_setzero_si256();
  for (int64_t i = 0; i < count; i += 16) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const auto* p = reinterpret_cast<const __m256i*>(data + i + 4 * j);
      sums[j] = _mm256_xor_si256(sums[j], _mm256_loadu_si256(p));
    }
  }
  const __m256i total =
      _mm256_xor_si256(_mm256_xor_si256(sums[0], sums[1]), _mm256_xor_si256(sums[2], sums[3]));
  return _mm256_extract_epi64(total, 0);
}

// The best of a few runs of `work` on every thread at once: ceilings are what is possible.
template <typename Work>
double best_seconds(ThreadPool* pool, const Work& work) {
  double best = 1e30;
  for (int i = 0; i < kRepeats; ++i) {
    const auto start = Clock::now();
    pool->parallel_for(pool->num_threads(), 1, [&](int64_t begin, int64_t, int) { work(begin); });
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

double read_gb_s(ThreadPool* pool) {
  constexpr int64_t kBytes = int64_t{256} << 20;
  const Buffer memory = allocate_host(kBytes);
  if (memory.data() == nullptr || !__builtin_cpu_supports("avx2")) return 0;
  std::fill_n(memory.as<int64_t>(), kBytes / 8, int64_t{1});
  const int64_t share = kBytes / 8 / pool->num_threads() / 16 * 16;
  const double seconds = best_seconds(pool, [&](int64_t part) {
    g_sink = static_cast<float>(read_all(memory.as<int64_t>() + part * share, share));
  });
  return static_cast<double>(share * 8 * pool->num_threads()) / seconds * 1e-9;
}

}  // namespace

Ceilings measure_ceilings(CeilingParts parts, ThreadPool* pool) {
  Ceilings found;
  found.read_gb_s = read_gb_s(pool);
  if (parts == CeilingParts::kMemory) return found;
  const double steps = static_cast<double>(kSteps) * kChains * pool->num_threads();
  if (__builtin_cpu_supports("avx512vnni")) {
    found.int8_top_s = steps * 128 / best_seconds(pool, [](int64_t) { dot_steps(); }) * 1e-12;
  }
  if (__builtin_cpu_supports("avx512bf16")) {
    found.bf16_tflop_s = steps * 64 / best_seconds(pool, [](int64_t) { bf16_steps(); }) * 1e-12;
  }
  if (__builtin_cpu_supports("avx512f")) {
    found.fp32_tflop_s = steps * 32 / best_seconds(pool, [](int64_t) { fma_steps_512(); }) * 1e-12;
  } else if (__builtin_cpu_supports("fma")) {
    found.fp32_tflop_s = steps * 16 / best_seconds(pool, [](int64_t) { fma_steps_256(); }) * 1e-12;
  }
  return found;
}

}  // namespace lserve::cpu
