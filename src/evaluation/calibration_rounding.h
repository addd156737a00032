// A matrix into a row format, so that what it makes of the calibration text changes least.
#pragma once

#include <cstddef>
#include <vector>

#include "evaluation/calibration_math.h"
#include "quant/error_feedback.h"

namespace lserve {

// One group of matrices that share an input. Rows are tokens.
struct RoundingInputs {
  FloatMatrix x;           // what it will be, of the rounded model, as the format rounds it
  FloatMatrix difference;  // what it is in the original model, less x
  FloatMatrix moments;     // of x, damped
  ErrorFeedback feedback;  // of these
  ErrorFeedback ridge;     // of the same, damped more: for corrections, which must suit other texts
};
// `original` and `rounded` in the basis of the weights. kMemory.
Result<RoundingInputs> rounding_inputs(WeightFormat format, FloatMatrix original,
                                       const FloatMatrix& rounded, double damping, double ridge,
                                       Calculator& calculator);

// W becomes the floats whose products with inputs.x are nearest to W times the original input, plus
// `missing` if there is one [tokens, rows]:
//   W += strength * (W sum difference^T x + sum missing^T x) H^-1
// kMemory.
Status correct_for_inputs(const RoundingInputs& inputs, const FloatMatrix* missing, float strength,
                          Calculator& calculator, FloatMatrix* w);

// All rows, from the first column to the last, with the feedback of errors; then again each column
// to what is best given all others. kMemory.
Result<std::vector<std::byte>> round_matrix(WeightFormat format, const FloatMatrix& w,
                                            const RoundingInputs& inputs, Calculator& calculator);

// By plain rounding (quant/quantise_weight.h).
std::vector<std::byte> round_plainly(WeightFormat format, const FloatMatrix& w, ThreadPool* pool);

}  // namespace lserve
