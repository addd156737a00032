// How rounding one weight is made good by the weights that are rounded after it.
//
// The error of an output, over many inputs x, is  e H e^T  with e = w - w^ and H the sum of x^T x.
// With H = R R^T, R upper triangular, and r its diagonal, that is the sum over columns k of
//   r_k^2 (e_k + sum_{j<k} e_j R_jk / R_kk)^2
// so when columns are rounded from first to last, each term is least if column k rounds
//   w_k + sum_{j<k} e_j R_jk / R_kk
// to the nearest code. (LDLQ: Chee et al., arXiv 2307.13304; the same numbers as GPTQ, Frantar et
// al., arXiv 2210.17323, without the inverse of H)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"

namespace lserve {

class ErrorFeedback {
 public:
  // `moments` is H [n, n] (its lower half is read); damping * the mean of its diagonal is added to
  // the diagonal. A column that no input reaches gets that, too: it rounds to the nearest.
  // REQUIRES: finite values, damping > 0.
  ErrorFeedback(std::vector<float> moments, int64_t n, double damping, ThreadPool* pool);

  int64_t size() const { return n_; }
  // What was added to each element of the diagonal.
  float damped_by() const { return damped_by_; }
  // r_k^2: what the squared error of column k counts, the later columns having made good for it.
  std::span<const float> importance() const { return importance_; }
  // R_jk / R_kk, the share of e_j that column k takes on. REQUIRES: j < k.
  float share(int64_t j, int64_t k) const { return row(k)[j] / row(k)[k]; }
  // y = c H^-1 of each row of `rows` [count, n], in place: H damped.
  void solve(std::span<float> rows, ThreadPool* pool) const;

 private:
  float* row(int64_t k) { return transposed_.data() + k * n_; }
  const float* row(int64_t k) const { return transposed_.data() + k * n_; }
  void factorise(ThreadPool* pool);
  void solve_row(float* c) const;

  int64_t n_;
  float damped_by_ = 0;
  std::vector<float> transposed_;  // R^T [n, n], its lower half
  std::vector<float> importance_;  // [n]
};

}  // namespace lserve
