// A GGUF file (or all parts of a split one) as a Checkpoint. Private to checkpoint.cc.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "checkpoint/checkpoint.h"

namespace lserve {

Result<std::unique_ptr<Checkpoint>> open_gguf_checkpoint(const std::string& path);

}  // namespace lserve
