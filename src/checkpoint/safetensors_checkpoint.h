// A Hugging Face directory as a Checkpoint. Private to checkpoint.cc.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "checkpoint/checkpoint.h"

namespace lserve {

// REQUIRES: directory_exists(directory).
Result<std::unique_ptr<Checkpoint>> open_safetensors_checkpoint(const std::string& directory);

}  // namespace lserve
