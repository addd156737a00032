#include "cli/version.h"

#include "base/strings.h"
#include "kernels/backend.h"

namespace lserve {

std::string version_line() {
  const auto backend = make_backend({});
  return cat("lserve ", LSERVE_VERSION, " (", LSERVE_COMMIT, ", g++ ", __VERSION__,
             built_with_cuda() ? ", CUDA; " : ", no CUDA; ",
             backend.ok() ? (*backend)->describe() : backend.status().message(), ")");
}

}  // namespace lserve
