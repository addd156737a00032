// --rope-scaling: how the user writes a scaling of positions.
#pragma once

#include <string_view>

#include "base/status.h"
#include "checkpoint/model_config.h"

namespace lserve {

// "none", "linear:FACTOR" or "llama3:FACTOR:LOW:HIGH:ORIGINAL" (trailing parts of llama3 may be
// left out); theta is left at its default. kUsage if the text is none of these.
Result<RopeConfig> parse_rope_scaling(std::string_view text);

}  // namespace lserve
