// config.json and generation_config.json of a Hugging Face directory -> ModelConfig.
#pragma once

#include <string>

#include "base/json.h"
#include "base/status.h"
#include "checkpoint/model_config.h"

namespace lserve {

// Whatever would change the result and is not implemented (another architecture, activation, rope
// type, sliding window, bias, weight quantisation) is refused by name. `where` and
// `generation_where` name the documents; `generation` may be null (no such file).
// REQUIRES: both documents are objects.
Result<ModelConfig> parse_hf_config(const Json& config, const std::string& where,
                                    const Json* generation, const std::string& generation_where);

// Reads the two files of `directory`; generation_config.json may be absent.
Result<ModelConfig> read_hf_config(const std::string& directory);

}  // namespace lserve
