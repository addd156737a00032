#include "evaluation/calibration_scales.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "evaluation/calibration_rounding.h"
#include "quant/error_feedback.h"
#include "quant/kv_format.h"

namespace lserve {

namespace {

constexpr std::array kExponents = {0.2F, 0.35F, 0.5F, 0.65F, 0.8F};
constexpr std::array kKeyExponents = {0.25F, 0.5F, 0.75F, 1.0F};
// Neither so small nor so large that bf16 norms or f16 scales suffer.
constexpr int64_t kSampleRows = 512;  // whose rounding is tried
constexpr float kLargestScale = 1e3F;
constexpr float kLeastMagnitude = 1e-5F;

std::vector<float> largest_of_columns(const FloatMatrix& x) {
  std::vector<float> largest(static_cast<size_t>(x.columns));
  for (int64_t r = 0; r < x.rows; ++r) {
    const std::span<const float> row = x.row(r);
    for (size_t c = 0; c < row.size(); ++c) largest[c] = std::max(largest[c], std::abs(row[c]));
  }
  return largest;
}

// Channels of one number get the largest of them.
void share(std::span<const int64_t> shared, std::vector<float>* magnitudes) {
  if (shared.empty()) return;
  std::vector<float> of_number(static_cast<size_t>(*std::ranges::max_element(shared)) + 1);
  for (size_t c = 0; c < shared.size(); ++c) {
    float& largest = of_number[static_cast<size_t>(shared[c])];
    largest = std::max(largest, (*magnitudes)[c]);
  }
  for (size_t c = 0; c < shared.size(); ++c) {
    (*magnitudes)[c] = of_number[static_cast<size_t>(shared[c])];
  }
}

float power(float magnitude, float exponent) {
  return std::pow(std::max(magnitude, kLeastMagnitude), exponent);
}

// To a geometric mean of 1.
void normalise(std::vector<float>* scales) {
  double sum = 0;
  for (const float scale : *scales) sum += std::log(double{scale});
  const auto mean = static_cast<float>(std::exp(sum / static_cast<double>(scales->size())));
  for (float& scale : *scales) scale = std::clamp(scale / mean, 1 / kLargestScale, kLargestScale);
}

std::vector<std::vector<float>> candidates(const std::vector<float>& inputs,
                                           const std::vector<float>& own,
                                           const std::vector<float>& weights) {
  std::vector<std::vector<float>> all;
  for (const float exponent : kExponents) {
    std::vector<float> smooth;
    std::vector<float> aware;
    for (size_t c = 0; c < weights.size(); ++c) {
      smooth.push_back(power(inputs[c], exponent) / power(weights[c], 1 - exponent));
      aware.push_back(power(own[c], exponent));
    }
    all.push_back(std::move(smooth));
    all.push_back(std::move(aware));
  }
  for (std::vector<float>& scales : all) normalise(&scales);
  return all;
}

std::vector<float> inverse(std::span<const float> scales) {
  std::vector<float> inverse;
  for (const float scale : scales) inverse.push_back(1 / scale);
  return inverse;
}

// What rounding loses of the outputs under given scales, as squares over all rows of x. The errors
// of weights and of inputs are independent of each other, so theirs add up.
class Trial {
 public:
  Trial(WeightFormat format, const FloatMatrix& x, const ErrorFeedback& feedback,
        std::span<const FloatMatrix* const> matrices, Calculator& calculator)
      : format_(format),
        x_(x),
        sample_(sample_rows(x, kSampleRows)),
        feedback_(feedback),
        matrices_(matrices),
        calculator_(calculator) {}

  Result<double> error(std::span<const float> scales) const {
    const std::vector<float> inverse = lserve::inverse(scales);
    // Divided by scales, R has rows divided by them, and so has its diagonal.
    std::vector<float> importance;
    for (size_t c = 0; c < scales.size(); ++c) {
      importance.push_back(feedback_.importance()[c] * inverse[c] * inverse[c]);
    }
    FloatMatrix x = sample_;
    scale_columns(inverse, &x);
    FloatMatrix change = rounded_inputs(format_, x, &calculator_.pool);
    add(-1, x, &change);
    double sum = 0;
    for (const FloatMatrix* matrix : matrices_) {
      FloatMatrix w = *matrix;
      scale_columns(scales, &w);
      sum += weight_error(w, importance);
      if (format_ == WeightFormat::kW4A16) continue;
      FloatMatrix output;
      RETURN_IF_ERROR(calculator_.multiply(change, w, &output));
      sum += squares(output) * static_cast<double>(x_.rows) / static_cast<double>(sample_.rows);
    }
    return sum;
  }

 private:
  static double squares(const FloatMatrix& x) {
    double sum = 0;
    for (const float value : x.values) sum += double{value} * double{value};
    return sum;
  }
  // With the feedback of errors, a column's counts only as far as later ones cannot make it good.
  double weight_error(const FloatMatrix& w, std::span<const float> importance) const {
    const std::vector<std::byte> rows = round_plainly(format_, w, &calculator_.pool);
    const size_t row_size = rows.size() / static_cast<size_t>(w.rows);
    std::vector<double> errors(static_cast<size_t>(w.rows));
    calculator_.pool.parallel_for(w.rows, 16, [&](int64_t begin, int64_t end, int) {
      std::vector<float> read(static_cast<size_t>(w.columns));
      for (int64_t r = begin; r < end; ++r) {
        dequantise_row(format_,
                       std::span(rows).subspan(static_cast<size_t>(r) * row_size, row_size), read);
        for (size_t c = 0; c < read.size(); ++c) {
          const float difference = read[c] - w.row(r)[c];
          errors[static_cast<size_t>(r)] += double{importance[c] * difference * difference};
        }
      }
    });
    return std::accumulate(errors.begin(), errors.end(), 0.0);
  }

  WeightFormat format_;
  const FloatMatrix& x_;
  FloatMatrix sample_;
  const ErrorFeedback& feedback_;
  std::span<const FloatMatrix* const> matrices_;
  Calculator& calculator_;
};

// Keys of one head, over the tokens of k: [tokens, head_dim].
struct HeadKeys {
  FloatMatrix keys;
  FloatMatrix query_moments;  // [head_dim, head_dim] of the query heads that read them
};

FloatMatrix head_columns(const FloatMatrix& x, int64_t first, int64_t count) {
  FloatMatrix out(x.rows, count);
  for (int64_t r = 0; r < x.rows; ++r) {
    std::copy_n(x.row(r).begin() + first, count, out.row(r).begin());
  }
  return out;
}

HeadKeys head_keys(const ModelConfig& config, const FloatMatrix& q, const FloatMatrix& k,
                   int64_t head) {
  const int64_t width = config.head_dim;
  HeadKeys out{head_columns(k, head * width, width), FloatMatrix(width, width)};
  for (int64_t g = 0; g < config.gqa_group_size(); ++g) {
    const FloatMatrix queries =
        head_columns(q, (head * config.gqa_group_size() + g) * width, width);
    for (int64_t r = 0; r < queries.rows; ++r) {
      const std::span<const float> query = queries.row(r);
      for (int64_t i = 0; i < width; ++i) {
        const std::span<float> to = out.query_moments.row(i);
        for (size_t j = 0; j < query.size(); ++j) to[j] += query[static_cast<size_t>(i)] * query[j];
      }
    }
  }
  return out;
}

// Of q . k: sum over keys of e M e^T, e what 4 bits change of the key, M the queries' moments.
double key_error(const HeadKeys& head, std::span<const float> scales) {
  const size_t width = scales.size();
  std::vector<float> key(width);
  std::vector<float> stored(width);
  std::vector<std::byte> codes(
      static_cast<size_t>(kv_vector_bytes(KvFormat::kInt4, static_cast<int64_t>(width))));
  double sum = 0;
  for (int64_t t = 0; t < head.keys.rows; ++t) {
    const std::span<const float> original = head.keys.row(t);
    for (size_t c = 0; c < width; ++c) key[c] = original[c] / scales[c];
    KvScale scale{};
    quantise_kv(KvFormat::kInt4, key, codes.data(), &scale);
    dequantise_kv(KvFormat::kInt4, codes.data(), &scale, stored);
    for (size_t c = 0; c < width; ++c) stored[c] = stored[c] * scales[c] - original[c];
    for (size_t i = 0; i < width; ++i) {
      const std::span<const float> row = head.query_moments.row(static_cast<int64_t>(i));
      float product = 0;
      for (size_t j = 0; j < width; ++j) product += row[j] * stored[j];
      sum += double{product} * double{stored[i]};
    }
  }
  return sum;
}

std::vector<float> head_key_scales(const HeadKeys& head) {
  const auto width = static_cast<size_t>(head.keys.columns);
  std::vector<float> magnitudes = largest_of_columns(head.keys);
  for (size_t c = 0; c < width / 2; ++c) {
    float& a = magnitudes[c];
    float& b = magnitudes[c + width / 2];
    a = b = std::max(a, b);
  }
  std::vector<float> best(width, 1.0F);
  double least = key_error(head, best);
  for (const float exponent : kKeyExponents) {
    std::vector<float> scales;
    for (const float largest : magnitudes) scales.push_back(power(largest, exponent));
    normalise(&scales);
    const double error = key_error(head, scales);
    if (error >= least) continue;
    least = error;
    best = scales;
  }
  return best;
}

}  // namespace

Result<std::vector<float>> choose_scales(WeightFormat format, const FloatMatrix& x,
                                         std::span<const FloatMatrix* const> matrices,
                                         std::span<const int64_t> shared, double damping,
                                         Calculator& calculator) {
  const auto columns = static_cast<size_t>(x.columns);
  ASSIGN_OR_RETURN(FloatMatrix moments, calculator.moments(x, x));
  const ErrorFeedback feedback(std::move(moments.values), x.columns, damping, &calculator.pool);
  std::vector<float> inputs = largest_of_columns(x);
  std::vector<float> own;
  for (const float importance : feedback.importance()) own.push_back(std::sqrt(importance));
  std::vector<float> weights(columns);
  for (const FloatMatrix* w : matrices) {
    const std::vector<float> largest = largest_of_columns(*w);
    for (size_t c = 0; c < columns; ++c) weights[c] = std::max(weights[c], largest[c]);
  }
  for (std::vector<float>* magnitudes : {&inputs, &own, &weights}) share(shared, magnitudes);

  const Trial trial(format, x, feedback, matrices, calculator);
  std::vector<float> best(columns, 1.0F);
  ASSIGN_OR_RETURN(double least, trial.error(best));
  for (std::vector<float>& scales : candidates(inputs, own, weights)) {
    ASSIGN_OR_RETURN(const double error, trial.error(scales));
    if (error >= least) continue;
    least = error;
    best = std::move(scales);
  }
  return best;
}

std::vector<float> choose_key_scales(const ModelConfig& config, const FloatMatrix& q,
                                     const FloatMatrix& k, Calculator& calculator) {
  std::vector<float> scales(static_cast<size_t>(config.num_kv_heads * config.head_dim));
  calculator.pool.parallel_for(config.num_kv_heads, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t head = begin; head < end; ++head) {
      const std::vector<float> found = head_key_scales(head_keys(config, q, k, head));
      std::ranges::copy(found, scales.begin() + head * config.head_dim);
    }
  });
  return scales;
}

}  // namespace lserve
