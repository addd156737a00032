// The rope part of config.json, in its old form (rope_theta, rope_scaling) and its new one
// (rope_parameters).
#pragma once

#include "base/status.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/model_config.h"

namespace lserve {

// Types other than default, linear, llama3 and yarn are refused by name, and so is a rotation of
// only a part of the head.
Result<RopeConfig> parse_hf_rope(const JsonFields& config);

}  // namespace lserve
