// The backend of plain float loops (ops.h). Weights are float32 in memory, whatever the file holds.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace lserve {

// num_threads 0: as many as the process may use. Results do not depend on it.
std::unique_ptr<Backend> make_reference_backend(int num_threads);

}  // namespace lserve
