// Calibration: rounds a model to a row format with a text in mind, layer after layer, by forward
// passes alone. START HERE for calibration_*.h; docs/quant/calibration.md has the formulas.
//
// Three models go through the text together: the original; the rounded one, whose earlier layers
// are rounded already, so that each matrix can make good for what they changed; and, on a part of
// the text, one that is rounded plainly, to compare with. In each layer
//   1. Channels are scaled (calibration_scales.h), which changes nothing before rounding.
//   2. Each matrix is moved to where its outputs, of the rounded model's inputs, are nearest to the
//      original's.
//   3. It is rounded with the feedback of errors (calibration_rounding.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "evaluation/calibration_layer.h"
#include "model/quantise_checkpoint.h"

namespace lserve {

inline constexpr int64_t kLeastCalibrationTokens = 256;

struct CalibrationOptions {
  int64_t segment = 512;  // tokens that see each other
  // How far weights move to where the text would have them: 1 fits it best, and other texts worse.
  double strength = 0.8;
  double damping = 0.01;  // of the moments of inputs (quant/error_feedback.h)
  double ridge = 0.1;     // the same, where they say how far weights move
};

// Of the hidden states after a layer: squared distance to the original's, over their squares.
struct LayerError {
  double plain = 0;       // rounded plainly
  double calibrated = 0;  // over the same tokens
};

class Calibration : public LayerRewriter {
 public:
  // Reads the embeddings of `tokens`. kUsage: fewer than kLeastCalibrationTokens, or the choice
  // leaves the layers as they are; kModel; kMemory. REQUIRES: check_weight_choice().
  static Result<std::unique_ptr<Calibration>> open(std::unique_ptr<Checkpoint> checkpoint,
                                                   const WeightChoice& choice,
                                                   std::span<const int32_t> tokens,
                                                   const CalibrationOptions& options);

  Result<Tensors> rewrite(int64_t layer) override;
  Json describe() const override;

  // Of the layers so far.
  const std::vector<LayerError>& errors() const { return errors_; }

 private:
  Calibration(std::unique_ptr<Checkpoint> checkpoint, const WeightChoice& choice,
              const CalibrationOptions& options, std::unique_ptr<Backend> backend);

  Status embed(std::span<const int32_t> tokens);
  // The embeddings, of a table in that format.
  Result<FloatMatrix> embedded(const RawWeight& table, std::span<const int32_t> tokens);
  Result<LayerScales> choose(const LayerFloats& layer, const LayerInputs& inputs);
  Status run_plain(const LayerFloats& layer);

  // The rounding of one group of matrices that share an input: the rows of each.
  struct Group {
    std::vector<const FloatMatrix*> matrices;
    const FloatMatrix* missing = nullptr;  // what the sum of the residual stream lacks so far
  };
  using Rows = std::vector<std::byte>;
  Result<std::vector<Rows>> round(const Group& group, FloatMatrix original,
                                  const FloatMatrix& rounded);
  // Rounds a folded layer, group after group, and takes rounded_ through it.
  Status round_layer(const LayerFloats& layer, const FloatMatrix& before,
                     const FloatMatrix& between, LayerInputs inputs, Tensors* tensors,
                     const std::string& prefix);
  Result<FloatMatrix> project(const FloatMatrix& x, const FloatMatrix& w, const Rows& rows,
                              const FloatVector& bias) const;

  std::unique_ptr<Checkpoint> checkpoint_;
  WeightChoice choice_;
  WeightFormat format_;
  CalibrationOptions options_;
  std::unique_ptr<Backend> backend_;
  ThreadPool pool_;
  Calculator calculator_;
  Segments segments_;
  FloatMatrix original_, rounded_;  // hidden states: [tokens, hidden]
  FloatMatrix plain_;               // of the first tokens
  int64_t num_tokens_ = 0;
  std::vector<LayerError> errors_;
};

}  // namespace lserve
