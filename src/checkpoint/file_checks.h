// What every file of a checkpoint is asked before it is believed.
#pragma once

#include <cstdint>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "base/status.h"

namespace lserve {

// Fails, with the remedy, if the file is a Git-LFS pointer instead of the data it stands for.
Status check_not_lfs_pointer(const File& file);

// A JSON document whose root is an object, in a file of at most `max_bytes`.
Result<Json> read_json_object(const std::string& path, uint64_t max_bytes, JsonLimits limits = {});

}  // namespace lserve
