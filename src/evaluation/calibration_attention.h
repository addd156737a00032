// Causal attention over whole texts, as plain float loops: of calibration, which keeps no cache.
#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/model_config.h"
#include "evaluation/calibration_math.h"

namespace lserve {

// Rows of all matrices are tokens, in runs of `segment` (the last may be shorter) that do not see
// each other.
struct Segments {
  int64_t segment;
  std::vector<float> cos_sin;  // [segment, 2, head_dim / 2]
};
Segments make_segments(const ModelConfig& config, int64_t segment);

// Turns the heads of x [tokens, heads * head_dim] by their positions.
void turn(const Segments& segments, int64_t head_dim, FloatMatrix* x, ThreadPool* pool);

// out[t, h] = sum over t' <= t of softmax(q[t, h] . k[t', h / group] / sqrt(D)) v[t', h / group].
// REQUIRES: q and k turned.
FloatMatrix attend(const ModelConfig& config, const Segments& segments, const FloatMatrix& q,
                   const FloatMatrix& k, const FloatMatrix& v, ThreadPool* pool);

}  // namespace lserve
