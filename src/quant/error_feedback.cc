#include "quant/error_feedback.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace lserve {

namespace {

constexpr int64_t kPanel = 32;  // rows that are finished before the others see them

// to -= factor * from.
void subtract(float factor, const float* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] -= factor * from[i];
}

// In partial sums, so that the compiler makes vectors of it.
float dot(const float* a, const float* b, int64_t count) {
  constexpr int64_t kLanes = 16;
  float sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  float sum = 0;
  for (; i < count; ++i) sum += a[i] * b[i];
  for (const float partial : sums) sum += partial;
  return sum;
}

}  // namespace

ErrorFeedback::ErrorFeedback(std::vector<float> moments, int64_t n, double damping,
                             ThreadPool* pool)
    : n_(n), transposed_(std::move(moments)), importance_(static_cast<size_t>(n)) {
  CHECK_EQ(transposed_.size(), static_cast<size_t>(n * n));
  CHECK(damping > 0);
  double trace = 0;
  for (int64_t k = 0; k < n; ++k) trace += double{row(k)[k]};
  const double mean = trace / static_cast<double>(n);
  damped_by_ = static_cast<float>(damping * (mean > 0 ? mean : 1.0));
  for (int64_t k = 0; k < n; ++k) row(k)[k] += damped_by_;
  factorise(pool);
  for (int64_t k = 0; k < n; ++k) importance_[static_cast<size_t>(k)] = row(k)[k] * row(k)[k];
}

// From the last row to the first, R_k follows from the rows behind it:
//   R_ik R_kk = H_ik - sum_{j>k} R_ij R_kj,   i <= k
void ErrorFeedback::factorise(ThreadPool* pool) {
  for (int64_t end = n_; end > 0;) {
    const int64_t begin = std::max(int64_t{0}, end - kPanel);
    for (int64_t k = end - 1; k >= begin; --k) {
      float* r = row(k);
      // No less than the damping, but for roundings.
      const float diagonal = std::sqrt(std::max(r[k], damped_by_));
      for (int64_t i = 0; i < k; ++i) r[i] /= diagonal;
      r[k] = diagonal;
      for (int64_t i = begin; i < k; ++i) subtract(r[i], r, i + 1, row(i));
    }
    pool->parallel_for(begin, 16, [&](int64_t first, int64_t last, int) {
      for (int64_t i = first; i < last; ++i) {
        for (int64_t k = begin; k < end; ++k) subtract(row(k)[i], row(k), i + 1, row(i));
      }
    });
    end = begin;
  }
}

void ErrorFeedback::solve_row(float* c) const {
  for (int64_t k = n_ - 1; k >= 0; --k) {  // z R^T = c
    c[k] /= row(k)[k];
    subtract(c[k], row(k), k, c);
  }
  for (int64_t k = 0; k < n_; ++k) c[k] = (c[k] - dot(c, row(k), k)) / row(k)[k];  // y R = z
}

void ErrorFeedback::solve(std::span<float> rows, ThreadPool* pool) const {
  const auto count = static_cast<int64_t>(rows.size()) / n_;
  CHECK_EQ(static_cast<int64_t>(rows.size()), count * n_);
  pool->parallel_for(count, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) solve_row(rows.data() + i * n_);
  });
}

}  // namespace lserve
