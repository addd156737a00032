// Chooses the form by what the path is: a directory is Hugging Face's, any other file must be GGUF.
#include "checkpoint/checkpoint.h"

#include <algorithm>

#include "base/file.h"
#include "base/strings.h"
#include "checkpoint/gguf_checkpoint.h"
#include "checkpoint/random_checkpoint.h"
#include "checkpoint/safetensors_checkpoint.h"

namespace lserve {

Result<std::unique_ptr<Checkpoint>> Checkpoint::open(const std::string& path) {
  if (path.starts_with(kRandomPrefix)) return open_random_checkpoint(path);
  if (!directory_exists(path)) return open_gguf_checkpoint(path);
  if (file_exists(path + "/config.json")) return open_safetensors_checkpoint(path);
  return model_error(cat(path,
                         ": config.json is not in it (for a GGUF model, name the .gguf "
                         "file itself)"));
}

const TensorInfo* Checkpoint::find(std::string_view name) const {
  const auto all = tensors();
  const auto at = std::ranges::find(all, name, &TensorInfo::name);
  return at == all.end() ? nullptr : &*at;
}

}  // namespace lserve
