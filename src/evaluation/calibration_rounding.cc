#include "evaluation/calibration_rounding.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "quant/convert_rows.h"
#include "quant/quant_group.h"
#include "quant/row_encoder.h"

namespace lserve {

namespace {

// The columns of a quant group.
struct Columns {
  int64_t first, count;
};
Columns columns_of(int64_t group, int64_t columns) {
  const int64_t first = group * kQuantGroupSize;
  return {first, std::min(columns - first, kQuantGroupSize)};
}

FloatMatrix columns_from(const FloatMatrix& w, Columns at) {
  FloatMatrix part(w.rows, at.count);
  for (int64_t r = 0; r < w.rows; ++r) {
    const std::span<const float> row = w.row(r);
    std::copy_n(row.begin() + at.first, at.count, part.row(r).begin());
  }
  return part;
}

// What errors of the columns `from` give to the columns `to`: [to.count, from.count].
FloatMatrix shares(const ErrorFeedback& feedback, Columns from, Columns to) {
  FloatMatrix out(to.count, from.count);
  for (int64_t k = 0; k < to.count; ++k) {
    for (int64_t j = 0; j < from.count; ++j) {
      out.row(k)[static_cast<size_t>(j)] = feedback.share(from.first + j, to.first + k);
    }
  }
  return out;
}

// [count, count]: row j is what column j gives to those behind it.
FloatMatrix shares_within(const ErrorFeedback& feedback, Columns at) {
  FloatMatrix out(at.count, at.count);
  for (int64_t j = 0; j < at.count; ++j) {
    for (int64_t k = j + 1; k < at.count; ++k) {
      out.row(j)[static_cast<size_t>(k)] = feedback.share(at.first + j, at.first + k);
    }
  }
  return out;
}

// Rounds a group of one row. `wanted`: its weights with the errors of earlier groups; `w`: without.
void round_group(int64_t group, Columns at, const FloatMatrix& within,
                 std::span<const float> importance, std::span<const float> w,
                 std::span<float> wanted, std::span<float> errors, RowEncoder* encoder) {
  encoder->begin_group(group, wanted, importance);
  for (int64_t j = 0; j < at.count; ++j) {
    const auto column = static_cast<size_t>(j);
    errors[column] = w[column] - encoder->round(at.first + j, wanted[column]);
    const std::span<const float> share = within.row(j);
    for (size_t k = column + 1; k < share.size(); ++k) wanted[k] += errors[column] * share[k];
  }
}

constexpr int kPasses = 2;  // over the columns, after the first rounding

// e H e^T falls most if column k changes by (e H)_k / H_kk: to the code that is nearest to that.
// `products`: e H, e = w - w^.
void improve_row(std::span<const float> w, const FloatMatrix& moments, std::span<float> errors,
                 std::span<float> products, RowEncoder* encoder) {
  for (int pass = 0; pass < kPasses; ++pass) {
    for (size_t k = 0; k < w.size(); ++k) {
      const std::span<const float> row = moments.row(static_cast<int64_t>(k));
      const float now = w[k] - errors[k];
      const float then = encoder->round(static_cast<int64_t>(k), now + products[k] / row[k]);
      const float change = then - now;
      // Roundings of `now` itself are no change.
      if (std::abs(change) <= 1e-5F * std::abs(now)) continue;
      errors[k] = w[k] - then;
      for (size_t j = 0; j < row.size(); ++j) products[j] -= change * row[j];
    }
  }
}

}  // namespace

Result<RoundingInputs> rounding_inputs(WeightFormat format, FloatMatrix original,
                                       const FloatMatrix& rounded, double damping, double ridge,
                                       Calculator& calculator) {
  FloatMatrix x = rounded_inputs(format, rounded, &calculator.pool);
  add(-1, x, &original);
  ASSIGN_OR_RETURN(FloatMatrix moments, calculator.moments(x, x));
  ErrorFeedback feedback(moments.values, moments.rows, damping, &calculator.pool);
  ErrorFeedback ridged(moments.values, moments.rows, ridge, &calculator.pool);
  for (int64_t k = 0; k < moments.rows; ++k) {
    moments.row(k)[static_cast<size_t>(k)] += feedback.damped_by();
  }
  return RoundingInputs{std::move(x), std::move(original), std::move(moments), std::move(feedback),
                        std::move(ridged)};
}

Status correct_for_inputs(const RoundingInputs& inputs, const FloatMatrix* missing, float strength,
                          Calculator& calculator, FloatMatrix* w) {
  FloatMatrix change(w->rows, w->columns);
  if (missing != nullptr) {
    ASSIGN_OR_RETURN(change, calculator.moments(*missing, inputs.x));
  }
  ASSIGN_OR_RETURN(const FloatMatrix cross, calculator.moments(inputs.x, inputs.difference));
  RETURN_IF_ERROR(calculator.multiply(*w, cross, &change, /*accumulate=*/true));
  inputs.ridge.solve(change.values, &calculator.pool);
  add(strength, change, w);
  return {};
}

Result<std::vector<std::byte>> round_matrix(WeightFormat format, const FloatMatrix& w,
                                            const RoundingInputs& inputs, Calculator& calculator) {
  const ErrorFeedback& feedback = inputs.feedback;
  std::vector<std::byte> out(matrix_bytes({format, w.rows, w.columns}));
  const size_t row_size = out.size() / static_cast<size_t>(w.rows);
  const std::span<const float> importance = feedback.importance();
  std::vector<std::optional<RowEncoder>> encoders(static_cast<size_t>(w.rows));
  calculator.pool.parallel_for(w.rows, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const auto row = std::span(out).subspan(static_cast<size_t>(r) * row_size, row_size);
      encoders[static_cast<size_t>(r)].emplace(format, w.row(r), importance, row);
    }
  });
  std::vector<FloatMatrix> errors;  // of the groups so far
  for (int64_t group = 0; group < num_quant_groups(w.columns); ++group) {
    const Columns at = columns_of(group, w.columns);
    const FloatMatrix part = columns_from(w, at);
    FloatMatrix wanted = part;
    for (size_t before = 0; before < errors.size(); ++before) {
      const Columns from = columns_of(static_cast<int64_t>(before), w.columns);
      RETURN_IF_ERROR(calculator.multiply(errors[before], shares(feedback, from, at), &wanted,
                                          /*accumulate=*/true));
    }
    const FloatMatrix within = shares_within(feedback, at);
    errors.emplace_back(w.rows, at.count);
    calculator.pool.parallel_for(w.rows, 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        round_group(
            group, at, within,
            importance.subspan(static_cast<size_t>(at.first), static_cast<size_t>(at.count)),
            part.row(r), wanted.row(r), errors.back().row(r), &*encoders[static_cast<size_t>(r)]);
      }
    });
  }
  FloatMatrix all = FloatMatrix(w.rows, w.columns);
  for (size_t group = 0; group < errors.size(); ++group) {
    const Columns at = columns_of(static_cast<int64_t>(group), w.columns);
    for (int64_t r = 0; r < w.rows; ++r) {
      std::ranges::copy(errors[group].row(r), all.row(r).begin() + at.first);
    }
  }
  FloatMatrix products;
  RETURN_IF_ERROR(calculator.multiply(all, inputs.moments, &products));
  calculator.pool.parallel_for(w.rows, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      improve_row(w.row(r), inputs.moments, all.row(r), products.row(r),
                  &*encoders[static_cast<size_t>(r)]);
    }
  });
  return out;
}

std::vector<std::byte> round_plainly(WeightFormat format, const FloatMatrix& w, ThreadPool* pool) {
  std::vector<std::byte> out(matrix_bytes({format, w.rows, w.columns}));
  convert_rows({WeightFormat::kF32, w.rows, w.columns}, std::as_bytes(std::span(w.values)), format,
               out, pool);
  return out;
}

}  // namespace lserve
