// Ranges of a model's numbers, the same for every form of checkpoint, and what must hold between
// them. Together they keep every product of sizes far inside 63 bits.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "checkpoint/model_config.h"

namespace lserve {

template <typename T>
struct Range {
  T min, max;
};

inline constexpr Range<int64_t> kLayerRange = {1, 1024};
inline constexpr Range<int64_t> kHiddenRange = {1, 1 << 16};
inline constexpr Range<int64_t> kIntermediateRange = {1, 1 << 20};
inline constexpr Range<int64_t> kHeadRange = {1, 1024};
inline constexpr Range<int64_t> kHeadDimRange = {1, 1024};
inline constexpr Range<int64_t> kVocabRange = {1, 1 << 24};
inline constexpr Range<int64_t> kPositionRange = {1, INT32_MAX};
inline constexpr Range<double> kEpsRange = {1e-12, 0.1};
inline constexpr Range<double> kThetaRange = {1.0, 1e12};
inline constexpr Range<double> kRopeFactorRange = {1.0, 1e4};
inline constexpr Range<double> kFreqFactorRange = {1e-3, 1e6};
inline constexpr Range<double> kBlendRange = {1e-3, 1e4};      // where llama3 and yarn blend
inline constexpr Range<double> kMagnitudeRange = {1e-3, 1e3};  // of cosines and sines

// What holds between the numbers: the shapes that the kernels have, and token ids below the
// vocabulary's size. `where` names the file.
Status check_model_config(const ModelConfig& config, const std::string& where);

// The error for an architecture that is not in `supported`, with the nearest that is.
Status unsupported_architecture(const std::string& where, std::string_view name,
                                std::span<const std::string> supported);

// A context that YaRN extends reaches factor times as far, also where the file still gives the old
// one.
void extend_context(ModelConfig& config);

// Adds `id` unless it is there already.
void add_eos_token(ModelConfig& config, int32_t id);

}  // namespace lserve
