// stdout, which carries only the product, and the end of it.
#pragma once

#include <string_view>

#include "base/status.h"

namespace lserve {

// False if it could not be written.
bool print(std::string_view text);
// Flushes. kRuntime if anything that was printed could not be written (a full disk, a closed pipe).
Status finish_output();

}  // namespace lserve
