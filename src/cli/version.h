// What this binary is: for --version and for records.
#pragma once

#include <string>

namespace lserve {

// "lserve 0.1.0 (a1b2c3d, g++ 12.2.0, cpu avx512)"
std::string version_line();

}  // namespace lserve
