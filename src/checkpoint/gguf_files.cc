// The other parts are found by name, as the tools that split models name them; the metadata of
// every part is compared with its name, so a renamed or foreign part cannot slip in.
#include "checkpoint/gguf_files.h"

#include <array>
#include <cstdio>
#include <utility>

#include "base/strings.h"

namespace lserve {

namespace {

constexpr int64_t kMaxParts = 512;  // each keeps a file open

Result<int64_t> part_count(const Gguf& gguf) {
  if (!gguf.has("split.count")) return 1;
  ASSIGN_OR_RETURN(const int64_t count, gguf.get_int("split.count"));
  if (count >= 0 && count <= kMaxParts) return count == 0 ? 1 : count;
  return model_error(
      cat(gguf.file().path(), ": split.count: ", count, " is out of range (0 to ", kMaxParts, ")"));
}

// "-00001-of-00003.gguf" for part_idx 0 of 3.
std::string part_suffix(int64_t part_idx, int64_t count) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "-%05lld-of-%05lld.gguf",
                static_cast<long long>(part_idx + 1), static_cast<long long>(count));
  return text.data();
}

Status check_part(const Gguf& part, int64_t part_idx, int64_t count) {
  ASSIGN_OR_RETURN(const int64_t own_count, part_count(part));
  if (own_count != count) {
    return model_error(
        cat(part.file().path(), ": split.count: ", own_count, ", but another part says ", count));
  }
  ASSIGN_OR_RETURN(const int64_t own_idx, part.get_int("split.no"));
  if (own_idx == part_idx) return {};
  return model_error(cat(part.file().path(), ": split.no: ", own_idx, ", by its name it is part ",
                         part_idx, " (counted from 0)"));
}

Status check_tensor_count(const std::vector<Gguf>& parts) {
  ASSIGN_OR_RETURN(const int64_t promised, parts.front().get_int("split.tensors.count"));
  int64_t found = 0;
  for (const Gguf& part : parts) {
    ASSIGN_OR_RETURN(const int64_t own_promise, part.get_int("split.tensors.count"));
    if (own_promise != promised) {
      return model_error(cat(part.file().path(), ": split.tensors.count: ", own_promise,
                             ", but the first part says ", promised,
                             "; it is a part of another model"));
    }
    found += static_cast<int64_t>(part.tensors().size());
  }
  if (found == promised) return {};
  return model_error(cat(parts.front().file().path(), ": split.tensors.count: ", promised,
                         " are promised, the parts hold ", found));
}

}  // namespace

Result<std::vector<Gguf>> open_gguf_files(const std::string& path) {
  std::vector<Gguf> parts;
  ASSIGN_OR_RETURN(Gguf first, Gguf::open(path));
  ASSIGN_OR_RETURN(const int64_t count, part_count(first));
  if (count == 1) {
    parts.push_back(std::move(first));
    return parts;
  }
  ASSIGN_OR_RETURN(const int64_t given_idx, first.get_int("split.no"));
  const bool in_range = given_idx >= 0 && given_idx < count;
  const std::string suffix = part_suffix(in_range ? given_idx : 0, count);
  if (!in_range || !path.ends_with(suffix)) {
    return model_error(cat(path, ": part ", given_idx, " (split.no) of a model split in ", count,
                           " files, so its name must end in \"", suffix, "\""));
  }
  const std::string stem = path.substr(0, path.size() - suffix.size());
  for (int64_t part_idx = 0; part_idx < count; ++part_idx) {
    ASSIGN_OR_RETURN(Gguf part, Gguf::open(stem + part_suffix(part_idx, count)));
    RETURN_IF_ERROR(check_part(part, part_idx, count));
    parts.push_back(std::move(part));
  }
  RETURN_IF_ERROR(check_tensor_count(parts));
  return parts;
}

}  // namespace lserve
