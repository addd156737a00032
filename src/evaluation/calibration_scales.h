// Scales of channels that leave what a float model computes as it is, and make it easier to round:
// a channel of an input is divided by s, the columns of the weights that read it are multiplied.
#pragma once

#include <span>
#include <vector>

#include "checkpoint/model_config.h"
#include "evaluation/calibration_math.h"

namespace lserve {

// Tries
//   s_c = max|x_c|^a / max|w_c|^(1-a)   (SmoothQuant, Xiao et al., arXiv 2211.10438)
//   s_c = r_c^a                         (as AWQ, Lin et al., arXiv 2306.00978, which has mean
//   |x_c|)
// on a grid of a, r the diagonal of the factor of x^T x (quant/error_feedback.h): the part of an
// input that those behind it do not share. Takes what loses least of `matrices` times the rows of
// x, no scales among it. shared[c]: the channels of one number there share a scale (empty: none
// do). kMemory.
Result<std::vector<float>> choose_scales(WeightFormat format, const FloatMatrix& x,
                                         std::span<const FloatMatrix* const> matrices,
                                         std::span<const int64_t> shared, double damping,
                                         Calculator& calculator);

// Scales of the channels of K [kv_heads * head_dim] for a KV cache of 4 bits (SmoothAttention,
// QServe, Lin et al., arXiv 2405.04532):  K_c / l_c, Q_c * l_c, l_c = max|K_c|^a over the pair
// (c, c + head_dim/2), which a rope turns together. For each head the a of the least error of
// q . k, 0 among them. REQUIRES: q and k turned.
std::vector<float> choose_key_scales(const ModelConfig& config, const FloatMatrix& q,
                                     const FloatMatrix& k, Calculator& calculator);

}  // namespace lserve
