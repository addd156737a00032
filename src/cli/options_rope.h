// --rope-scaling: how the user writes a scaling of positions.
#pragma once

#include <string_view>

#include "base/status.h"
#include "checkpoint/model_config.h"

namespace lserve {

// "none", "linear:FACTOR", "llama3:FACTOR:LOW:HIGH:ORIGINAL" or
// "yarn:FACTOR:ORIGINAL:FAST:SLOW:ATTENTION"; trailing parts may be left out, but for yarn's
// ORIGINAL. Theta is left at its default. kUsage if the text is none of these.
Result<RopeConfig> parse_rope_scaling(std::string_view text);

}  // namespace lserve
