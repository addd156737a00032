// Greedy is the common case and takes a few plain passes over the row. Drawing first finds the set
// that the filters keep, without sorting the vocabulary, and then walks it in the order of ids: so
// the set decides the token, not how it was found.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "base/random.h"
#include "kernels/host/host_ops.h"

namespace lserve::host {

namespace {

constexpr size_t kLanes = 16;  // independent partial results: the compiler turns them into SIMD

bool all_finite(std::span<const float> x) {
  constexpr uint32_t kExponent = 0x7F800000;
  std::array<uint32_t, kLanes> bad{};
  const auto check = [&](size_t i, size_t lane) {
    bad[lane] |= (std::bit_cast<uint32_t>(x[i]) & kExponent) == kExponent ? 1 : 0;
  };
  size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) check(i + lane, lane);
  }
  for (; i < x.size(); ++i) check(i, 0);
  return std::all_of(bad.begin(), bad.end(), [](uint32_t b) { return b == 0; });
}

// REQUIRES: all finite.
float max_of(std::span<const float> x) {
  std::array<float, kLanes> best;
  best.fill(-std::numeric_limits<float>::infinity());
  size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      best[lane] = x[i + lane] > best[lane] ? x[i + lane] : best[lane];
    }
  }
  for (; i < x.size(); ++i) best[0] = std::max(best[0], x[i]);
  return *std::max_element(best.begin(), best.end());
}

// A token that may be drawn; more probable ones come first, ties by id.
struct Candidate {
  float logit;
  int32_t id;
  double probability;  // relative to the most probable token
  bool operator<(const Candidate& other) const {
    return logit != other.logit ? logit > other.logit : id < other.id;
  }
};

class Sampler {
 public:
  // REQUIRES: all logits finite; temperature > 0.
  Sampler(std::span<const float> logits, const SamplingParams& sampling) {
    kept_.clear();
    kept_.reserve(logits.size());
    keep_min_p(logits, sampling);
    if (sampling.top_k > 0) keep_top_k(static_cast<size_t>(sampling.top_k));
    for (Candidate& c : kept_) c.probability = std::exp(c.probability);
    if (sampling.top_p < 1) keep_top_p(static_cast<double>(sampling.top_p));
  }

  int32_t draw(double uniform) {
    const auto by_id = [](const Candidate& a, const Candidate& b) { return a.id < b.id; };
    if (!std::is_sorted(kept_.begin(), kept_.end(), by_id)) {
      std::sort(kept_.begin(), kept_.end(), by_id);
    }
    const double target = uniform * total();
    double sum = 0;
    for (const Candidate& c : kept_) {
      sum += c.probability;
      if (sum > target) return c.id;
    }
    return std::min_element(kept_.begin(), kept_.end())->id;  // rounding at the very end of the sum
  }

 private:
  double total() const {
    double sum = 0;
    for (const Candidate& c : kept_) sum += c.probability;
    return sum;
  }

  // Commutes with top_k, because both keep a head of the same order; so it may come first and leave
  // less to sort. Leaves the logarithm in `probability`.
  void keep_min_p(std::span<const float> logits, const SamplingParams& sampling) {
    const double floor = sampling.min_p > 0 ? std::log(static_cast<double>(sampling.min_p))
                                            : -std::numeric_limits<double>::infinity();
    const auto max = static_cast<double>(max_of(logits));
    const auto temperature = static_cast<double>(sampling.temperature);
    for (size_t i = 0; i < logits.size(); ++i) {
      const double log_ratio = (static_cast<double>(logits[i]) - max) / temperature;
      if (log_ratio >= floor) {
        kept_.push_back({logits[i], static_cast<int32_t>(i), log_ratio});
      }
    }
  }

  void keep_top_k(size_t k) {
    if (k >= kept_.size()) return;
    std::nth_element(kept_.begin(), kept_.begin() + static_cast<ptrdiff_t>(k), kept_.end());
    kept_.resize(k);
  }

  // Sorts ever longer heads until one holds enough.
  void keep_top_p(double top_p) {
    const double enough = total() * top_p;
    double sum = 0;
    size_t sorted = 0;
    while (sorted < kept_.size()) {
      const size_t end = std::min(kept_.size(), std::max<size_t>(256, 8 * sorted));
      const auto head = kept_.begin() + static_cast<ptrdiff_t>(sorted);
      const auto tail = kept_.begin() + static_cast<ptrdiff_t>(end);
      std::nth_element(head, tail, kept_.end());
      std::sort(head, tail);
      for (; sorted < end; ++sorted) {
        sum += kept_[sorted].probability;
        if (sum >= enough) {
          kept_.resize(sorted + 1);
          return;
        }
      }
    }
  }

  // Working memory, kept between draws: a token must not cost an allocation.
  static thread_local std::vector<Candidate> kept_;
};

thread_local std::vector<Candidate> Sampler::kept_;

int32_t sample_row(std::span<const float> logits, const SampleRow& row) {
  if (!all_finite(logits)) return kNonFinite;
  if (row.sampling.temperature > 0) {
    return Sampler(logits, row.sampling).draw(uniform_of(row.sampling.seed, row.position));
  }
  const float max = max_of(logits);
  return static_cast<int32_t>(std::find(logits.begin(), logits.end(), max) - logits.begin());
}

double log_prob(std::span<const float> logits, int32_t target) {
  CHECK(target >= 0 && static_cast<size_t>(target) < logits.size());
  if (!all_finite(logits)) return std::numeric_limits<double>::quiet_NaN();
  const auto max = static_cast<double>(max_of(logits));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - max);
  return static_cast<double>(logits[static_cast<size_t>(target)]) - max - std::log(sum);
}

std::span<const float> row_of(const TensorView& logits, int64_t row) {
  const int64_t size = logits.dim(1);
  return {logits.as<float>() + row * size, static_cast<size_t>(size)};
}

}  // namespace

double uniform_of(uint64_t seed, int64_t position) {
  constexpr uint64_t kStep = 0x9E3779B97F4A7C15ULL;
  return Random(Random(seed).next() + kStep * static_cast<uint64_t>(position)).uniform();
}

void sample(const SampleParams& params, ThreadPool* pool) {
  CHECK_EQ(params.rows.size(), params.tokens.size());
  CHECK_GE(params.logits.dim(0), static_cast<int64_t>(params.rows.size()));
  pool->parallel_for(
      static_cast<int64_t>(params.rows.size()), 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          const auto row = static_cast<size_t>(i);
          params.tokens[row] = sample_row(row_of(params.logits, i), params.rows[row]);
        }
      });
}

void log_probs(const LogProbParams& params, ThreadPool* pool) {
  CHECK_EQ(params.targets.size(), params.log_probs.size());
  CHECK_GE(params.logits.dim(0), static_cast<int64_t>(params.targets.size()));
  pool->parallel_for(
      static_cast<int64_t>(params.targets.size()), 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          const auto row = static_cast<size_t>(i);
          params.log_probs[row] = log_prob(row_of(params.logits, i), params.targets[row]);
        }
      });
}

}  // namespace lserve::host
